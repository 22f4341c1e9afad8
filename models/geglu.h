#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// x_1 gelu(x_2) of x = (x_1, x_2), (..., 2C) to (..., C); gelu(x) = x (1 + erf(x / sqrt(2))) / 2.
/// arXiv 2002.05202. On CUDA, where no gradients are wanted, the operator tiller::geglu has a
/// kernel of its own, which rounds once.
Tensor geglu(const Tensor& x);

/// The same out of LibTorch's operations.
Tensor geglu_reference(const Tensor& x);

}  // namespace tiller
