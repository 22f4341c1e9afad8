#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// The Gaussian blur of a line of `size` tokens as a (size, size) float32 matrix. As the authors'
/// code: taps to ceil(6 sigma) made odd, no more than the line has (made odd), normalised, the
/// line reflected at its ends.
Tensor blur_matrix(int64_t size, double sigma);

/// Blurs (B, heads, N, d) over its token grid: rows (H, H) mixes tokens of a column, columns (W, W)
/// those of a row; N = H W. Computes in float32.
Tensor blur_tokens(const Tensor& x, const Tensor& rows, const Tensor& columns);

}  // namespace tiller
