#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// Values of a weight that is always worth a second copy.
constexpr int64_t kSmallWeight = 1 << 20;

/// Whether larger weights may be kept in Winograd's form, which takes 16/9 of their size; they are
/// unless this says no. To be said once, before anything is evaluated.
void keep_winograd_weights(bool);

/// Whether conv2d(x, weight, bias, stride, padding) is one that Winograd's minimal filtering takes
/// less time for, with the same float32 results to a few roundings: on a CPU with AVX2, a 3x3
/// kernel with step and border 1, channels last, at least 32 of them. Gradients are the caller's to
/// rule out.
bool winograd_serves(const Tensor& x, const Tensor& weight, int64_t stride, int64_t padding);

/// A weight in the form that `winograd_conv` reads, (panels, floats).
Tensor winograd_weight(const Tensor& weight);

/// conv2d(x, weight, bias, 1, 1), channels last. bias: (out), or undefined. An image's values don't
/// depend on its batch or the number of threads.
Tensor winograd_conv(const Tensor& x, const Tensor& packed, const Tensor& bias, int64_t out);

}  // namespace tiller
