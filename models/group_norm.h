#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

struct GroupNormOptions {
  int64_t groups = 32;
  double eps = 1e-5;
  bool silu = false;
};

/// What comes in besides x and the parameters. Undefined tensors are absent.
struct RowTerms {
  Tensor modulation = {};  ///< (R, 2C) scales and shifts.
  Tensor added = {};       ///< (R, C), added to x at each pixel before anything else,
  Tensor offset = {};      ///< and (C), for all rows.
};

/// y = act(norm(x) * weight + bias), act being SiLU or the identity; with a modulation
/// y = act((norm(x) * weight + bias) * (1 + scale) + shift). x: (R, C, ...).
///
/// Channels-last images on the CPU in float32 or bfloat16 take one pass for the statistics and one
/// for the rest, each computed in float32 and returned in x's dtype, under autocast too; gradients
/// likewise, of first order; those in float16 are converted before and after. Results don't depend
/// on the number of threads. On CUDA, where no gradients are wanted, the operator
/// tiller::group_norm does the same with kernels of its own. Anything else goes through
/// `group_norm_reference`.
Tensor group_norm(const Tensor& x, const Tensor& weight, const Tensor& bias,
                  const GroupNormOptions&, const RowTerms& = {});

/// The same out of LibTorch's operations.
Tensor group_norm_reference(const Tensor& x, const Tensor& weight, const Tensor& bias,
                            const GroupNormOptions&, const RowTerms& = {});

}  // namespace tiller
