#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// Over the last dimension. weight, bias: (C).
struct LayerNorm {
  Tensor weight, bias;
  double eps = 1e-5;
  Tensor operator()(const Tensor& x) const;
};

/// What a layer adds to a stream of tokens, and the norm that the next layer reads.
struct NormedSum {
  Tensor sum, norm;
};

/// sum = x + term, or x where the term is undefined; norm = the sum's. x, term: (R, N, C). On CUDA,
/// without gradients, one kernel does both (the operator tiller::layer_norm_of_sum).
NormedSum layer_norm_of_sum(const Tensor& x, const Tensor& term, const LayerNorm&);

/// The same out of LibTorch's operations.
NormedSum layer_norm_of_sum_reference(const Tensor& x, const Tensor& term, const LayerNorm&);

}  // namespace tiller
