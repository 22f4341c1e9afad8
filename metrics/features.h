#pragma once
/// What the metrics ask of features.
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// Throws Error unless they are (N, D) of a floating type with nothing but finite numbers, N at
/// least `smallest`. what: for messages, as "generated features".
void check_features(const Tensor& features, const char* what, int64_t smallest = 1);

/// Also throws Error when the widths differ.
void check_features(const Tensor& a, const Tensor& b, int64_t smallest = 1);

}  // namespace tiller
