#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// Weights of a Gaussian at integer offsets, `width` of them (odd), that add up to 1. Float64.
Tensor gaussian_taps(int64_t width, double sigma);

/// A filter along a line of `size` pixels, reflected at its ends, as a (size, size) float32 matrix.
/// taps: (2 r + 1) with r < size.
Tensor line_filter(int64_t size, const Tensor& taps);

/// The same filter along height and width: (..., H, W) float32.
Tensor filtered(const Tensor& x, const Tensor& taps);

}  // namespace tiller
