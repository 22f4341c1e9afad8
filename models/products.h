#pragma once
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// Whether products of tokens or images x are made in float32: on an x86 processor, in bfloat16 or
/// float16, without instructions for that type, where LibTorch's products in sixteen bits take
/// three to ten times as long as float32's. Not under autocast.
bool is_widened(const Tensor& x);
/// The same of a type.
bool is_widened(at::ScalarType);

/// at::linear and at::conv2d. Where x is widened, operands are converted at each call, so that
/// nothing in float32 is kept, and a result is rounded once.
Tensor linear_of(const Tensor& x, const Tensor& weight, const Tensor& bias = {});
Tensor conv2d_of(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, int64_t stride = 1,
                 int64_t padding = 0);

}  // namespace tiller
