#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// Column potentials of the entropic transport plan with marginals 1 whose cost is q . k / sqrt(d):
/// with S = -q k^T / sqrt(d) and g = 0, `iterations` rounds of
///   f_i = -LSE_j(S_ij + g_j),  g_j = -LSE_i(S_ij + f_i).
/// q, k: (B, heads, N, d), any floating type. Returns g, (B, heads, N) float32.
/// Calls the operator tiller::sinkhorn_potentials, which has kernels of its own for the CPU and for
/// CUDA where that was compiled; elsewhere flash attention computes the LSEs. Memory is O(N).
Tensor sinkhorn_potentials(const Tensor& q, const Tensor& k, int64_t iterations);

/// The same from the N x N matrix, for tests and devices without flash attention.
Tensor dense_sinkhorn_potentials(const Tensor& q, const Tensor& k, int64_t iterations);

/// softmax_j(S_ij + g_j) v: attention by the plan, each row normalised. Memory is O(N).
/// v: (B, heads, N, d); g: (B, heads, N) float32. Returns (B, heads, N, d) in v's type.
Tensor sinkhorn_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& g);

/// The same in float32 on the CPU, without gradients.
Tensor sinkhorn_attention_cpu(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& g);

}  // namespace tiller
