#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// For the `count` least similar pairs i < j of the N vectors (by cosine), least first: index[i] =
/// j, then index[j] = i; where pairs collide the last wins. x: (B, N, D); returns (B, N) int64.
Tensor swap_indices(const Tensor& x, int64_t count);

/// x with its vectors swapped so; count = floor(ratio N). (B, N, D).
Tensor swapped(const Tensor& x, double ratio);

}  // namespace tiller
