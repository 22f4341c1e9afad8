#pragma once
#include <ATen/core/Tensor.h>

#include "models/alterations.h"

namespace tiller {
using at::Tensor;

/// Scaled dot-product attention. q: (B, heads, N, d); k, v: (B, heads, M, d). LibTorch's, but for
/// bfloat16 on a CPU: without gradients by our own kernel where the processor multiplies bfloat16
/// pairs and has no AMX (LibTorch's takes as long as float32 there), with gradients in float32,
/// since LibTorch's backward calls the matrix library once a head and block.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v);

/// The same with other weights than softmax's, computed in float32; null: as above.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionWeights*);

/// q k^T / sqrt(d) in float32, (B, heads, N, M), and what that gives after softmax or, unless they
/// are null, with other weights.
Tensor attention_scores(const Tensor& q, const Tensor& k);
Tensor attention_weights(const Tensor& q, const Tensor& k, const AttentionWeights*);

/// The kernel of the first; undefined where it doesn't serve.
Tensor bf16_attention(const Tensor& q, const Tensor& k, const Tensor& v);

}  // namespace tiller
