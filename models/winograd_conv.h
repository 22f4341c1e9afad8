#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// Values of a weight that is always worth a second copy.
constexpr int64_t kSmallWeight = 1 << 20;

/// Bytes that a 3x3 kernel's weight takes in Winograd's form, which is float32.
constexpr double winograd_bytes(double values) { return values * 16 / 9 * sizeof(float); }

/// Whether larger weights may be kept in that form; they are unless this says no. To be said once,
/// before anything is evaluated.
void keep_winograd_weights(bool);

/// Whether conv2d(x, weight, bias, stride, padding) is one that Winograd's minimal filtering takes
/// less time for, with the same results to a few roundings of float32: on a CPU with AVX2, a 3x3
/// kernel with step and border 1, at least 32 channels in and out and 4 pixels a side, in float32,
/// or in a type that is widened (products.h). Gradients are the caller's to
/// rule out.
bool winograd_serves(const Tensor& x, const Tensor& weight, int64_t stride, int64_t padding);

/// A weight in the form that `winograd_conv` reads, (panels, floats).
Tensor winograd_weight(const Tensor& weight);

/// conv2d(x, weight, bias, 1, 1), channels last. bias: (out), or undefined. An image's values don't
/// depend on its batch or the number of threads. Throws c10::Error where the shapes don't fit.
Tensor winograd_conv(const Tensor& x, const Tensor& packed, const Tensor& bias, int64_t out);

}  // namespace tiller
