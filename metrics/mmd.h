#pragma once
/// CMMD (Jayasumana et al. 2024, arXiv 2401.09603): the maximum mean discrepancy of CLIP
/// embeddings.
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// 1000 (mean k(x, x') + mean k(y, y') - 2 mean k(x, y)) with the kernel exp(-|x - y|^2 / (2
/// sigma^2)), sigma = 10, of embeddings divided by their norms; each image's pair with itself
/// counts, as in the authors' code. (N, D) and (M, D), in float64 and in tiles. Throws Error when
/// the widths differ, on no images and on values that aren't finite.
double clip_mmd(const Tensor& generated, const Tensor& reference);

}  // namespace tiller
