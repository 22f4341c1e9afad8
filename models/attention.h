#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// Scaled dot-product attention. q: (B, heads, N, d); k, v: (B, heads, M, d). LibTorch's, but for
/// bfloat16 on a CPU: without gradients by our own kernel where the processor multiplies bfloat16
/// pairs and has no AMX (LibTorch's takes as long as float32 there), with gradients in float32,
/// since LibTorch's backward calls the matrix library once a head and block.
Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v);

/// The kernel of the former; undefined where it doesn't serve.
Tensor bf16_attention(const Tensor& q, const Tensor& k, const Tensor& v);

}  // namespace tiller
