#pragma once
#include "models/layers.h"

namespace tiller {

/// The layers' results for the same x (R, N, in), in order. On CUDA, without gradients, the layers'
/// weights are joined once and one product gives all: a launch instead of one a layer, of a size
/// that fills the device better. A CPU gains nothing from it.
std::vector<Tensor> apply_joined(Rows&, const Tensor& x, const std::vector<const Linear*>& layers);

/// One matrix (sum of out, in) of which the weights (out, in) are parts from now on; made of them
/// where they aren't yet. They must agree in type, device and `in`.
Tensor joined_weight(const std::vector<const Linear*>& layers);

}  // namespace tiller
