#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// (x - mean) / deviation, with a number for each of three channels. x: (B, 3, H, W), floating.
Tensor normalised(const Tensor& x, at::ArrayRef<double> mean, at::ArrayRef<double> deviation);

}  // namespace tiller
