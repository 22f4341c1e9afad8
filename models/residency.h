#pragma once
#include "io/tensor_file.h"

namespace tiller {

/// Puts a network's tensors on a device, in place: the network that was built of them works there
/// from then on. Where they are there already nothing happens.
void move_to(const NamedTensors& parameters, at::Device);

/// Frees a network's tensors, in place. It can't be evaluated any more.
void release(const NamedTensors& parameters);

}  // namespace tiller
