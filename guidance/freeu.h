#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// x (R, C, H, W) with the first half of its channels times `factor`.
Tensor amplified(const Tensor& x, double factor);

/// The same, where the factor goes from 1 at the lowest to `factor` at the highest of an image's
/// means over channels (FreeU's version 2).
Tensor amplified_by_mean(const Tensor& x, double factor);

/// x (R, C, H, W) with its four lowest frequencies (0 and -1 along each side) times `factor`, of
/// which the real part is kept, as FreeU's Fourier filter with threshold 1. Computed in float32 as
/// a projection on seven waves, for any size.
Tensor damped(const Tensor& x, double factor);

}  // namespace tiller
