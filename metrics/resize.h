#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// How images are brought to a feature network's size; tools differ, and so do their figures.
enum class ResizeRule {
  bilinear,  ///< pytorch-fid: pixel centres aligned, no antialiasing.
  tf1,       ///< TensorFlow 1 (TTUR, torch-fidelity, guided-diffusion): corners aligned, none.
  clean,     ///< clean-fid: Pillow's bicubic filter on floats, antialiased, clipped to 0..255.
  bicubic    ///< PyTorch's bicubic, pixel centres aligned, no antialiasing.
};

/// images: (B, C, H, W) of 0..255, any type. Returns (B, C, height, width) in float32, 0..255.
Tensor resize_values(const Tensor& images, int64_t height, int64_t width, ResizeRule);

}  // namespace tiller
