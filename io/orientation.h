#pragma once
#include <ATen/core/Tensor.h>

#include <string_view>

namespace tiller {
using at::Tensor;

/// How a JPEG's EXIF says that it is to be turned, 1 (not at all) to 8: tag 274 of TIFF 6.0. 1
/// where nothing is said or it can't be read.
int orientation_of(std::string_view jpeg);

/// (C, H, W) as a viewer shows it, by an orientation of 1 to 8.
Tensor upright(const Tensor& image, int orientation);

}  // namespace tiller
