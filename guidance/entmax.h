#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// alpha-entmax with alpha = 1.5 over the last dimension (arXiv 1905.05702, algorithm 2): weights
/// (z / 2 - tau)_+^2 that add up to 1, many of them 0. scores: (..., L) float32, to that shape.
Tensor entmax15(const Tensor& scores);

/// The same with alpha = 2 (sparsemax, arXiv 1602.02068): (z - tau)_+.
Tensor sparsemax(const Tensor& scores);

}  // namespace tiller
