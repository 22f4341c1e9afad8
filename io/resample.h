#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// Scales (C, H, W) uint8 to (C, height, width) with antialiased bicubic interpolation. Where both
/// sides scale alike it equals Pillow 13's Image.resize(..., BICUBIC) bit for bit: fixed-point
/// weights of 22 bits, first along the side that leaves fewer pixels, rounded to bytes in between.
Tensor resample_bicubic(const Tensor& image, int64_t height, int64_t width);

}  // namespace tiller
