#pragma once
/// Vendi score (Friedman and Dieng 2023, arXiv 2210.02410): how many different images there are.
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// exp of the entropy of the eigenvalues of K / N, K the cosines of features (N, D): 1 where all
/// are alike, up to min(N, D). In float64; takes the eigenvalues of a matrix of min(N, D)^2. Throws
/// Error on no images and on values that aren't finite.
double vendi_score(const Tensor& features);

}  // namespace tiller
