#pragma once
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace tiller {
using at::Tensor;

/// Labels of a grid; either may be empty.
struct GridLabels {
  std::vector<std::string> rows;     ///< Left of each row.
  std::vector<std::string> columns;  ///< Above each column.
};

/// images: (N, 3, H, W) uint8, row by row. Enlarges small images by whole factors so that text
/// beside them can be read. Returns (3, H', W') uint8.
Tensor image_grid(const Tensor& images, int64_t columns, const GridLabels& labels = {});

}  // namespace tiller
