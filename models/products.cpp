#include "models/products.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>

#include "models/instructions.h"

namespace tiller {
namespace {

Tensor wide(const Tensor& x) { return x.defined() ? x.to(at::kFloat) : x; }

}  // namespace

#if defined(__x86_64__)
bool is_widened(at::ScalarType dtype) {
  static const bool bf16 = multiplies_bf16_pairs() || multiplies_bf16_tiles();
  static const bool half = multiplies_halves();
  return (dtype == at::kBFloat16 && !bf16) || (dtype == at::kHalf && !half);
}
#else
bool is_widened(at::ScalarType) { return false; }
#endif

bool is_widened(const Tensor& x) {
  return x.is_cpu() && x.dim() > 2 && is_widened(x.scalar_type()) &&
         !at::autocast::is_autocast_enabled(at::kCPU);
}

Tensor linear_of(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (!is_widened(x)) return at::linear(x, weight, bias);
  return at::linear(wide(x), wide(weight), wide(bias)).to(x.scalar_type());
}

Tensor conv2d_of(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t stride,
                 int64_t padding) {
  if (!is_widened(x)) return at::conv2d(x, weight, bias, stride, padding);
  return at::conv2d(wide(x), wide(weight), wide(bias), stride, padding).to(x.scalar_type());
}

}  // namespace tiller
