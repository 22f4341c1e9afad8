#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// What a convolution gave, (R, C, H, W), and the bias (C) that it still lacks: LibTorch adds one
/// on a GPU by a kernel of its own, what comes next can do so on the way. Undefined: it is in `x`.
struct Unbiased {
  Tensor x, bias = {};
  Tensor whole() const;
};

/// Values that the kernel adds at most.
constexpr int64_t kMostSummed = (int64_t(1) << 33) - 1;

/// x + h, of the same shape. On CUDA, without gradients, one kernel (the operator
/// tiller::residual_sum) where h lacks its bias.
Tensor residual_sum(const Unbiased& x, const Unbiased& h);

}  // namespace tiller
