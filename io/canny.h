#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// Gradients above `high` are edges, those above `low` where they touch one.
struct CannyThresholds {
  int low = 100, high = 200;
};

/// Canny's edge map (1986), (3, H, W) uint8 to the same: 255 on edges, else 0. As OpenCV's
/// Canny(image, low, high), with which ControlNets' training maps were made: Sobel gradients of the
/// channel where they are largest, measured as |dx| + |dy|, without a blur before.
Tensor canny(const Tensor& image, const CannyThresholds& thresholds = {});

}  // namespace tiller
