#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// Normalized attention guidance of attention outputs (B, heads, N, d): g = s z+ - (s - 1) z-,
/// brought down to tau times the L1 norm of z+ where it is longer (for each token, over heads and
/// d), then alpha g + (1 - alpha) z+. Computes in float32.
Tensor normalized_attention(const Tensor& positive, const Tensor& negative, double scale,
                            double tau, double alpha);

}  // namespace tiller
