#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace tiller {
using at::Tensor;

/// Where a pixel of a scaled row reads from, and with what weights, whose sum is 1.
struct CubicWindow {
  int64_t first = 0;
  std::vector<double> weights;
};
/// Pillow's bicubic filter (a = -0.5), antialiased: the windows of a row of `from` pixels scaled to
/// `to`.
std::vector<CubicWindow> cubic_windows(int64_t from, int64_t to);

/// Scales (C, H, W) uint8 to (C, height, width) with antialiased bicubic interpolation. Where both
/// sides scale alike it equals Pillow 13's Image.resize(..., BICUBIC) bit for bit: fixed-point
/// weights of 22 bits, rounded to bytes in between; columns first where more than twice as many
/// rows as columns go, else rows.
Tensor resample_bicubic(const Tensor& image, int64_t height, int64_t width);

}  // namespace tiller
