#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// Scales (C, H, W) uint8 to (C, height, width) with antialiased bicubic interpolation, bit for bit
/// as Pillow's Image.resize(..., BICUBIC): fixed-point weights of 22 bits, columns first, rounded
/// to bytes in between.
Tensor resample_bicubic(const Tensor& image, int64_t height, int64_t width);

}  // namespace tiller
