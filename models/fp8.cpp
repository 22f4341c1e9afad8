#include "models/fp8.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <torch/library.h>

#include <cmath>

#include "io/parallel.h"
#include "models/gradients.h"
#include "models/kernels/choose.h"
#include "models/kernels/fp8.h"
#include "models/operation.h"
#include "models/products.h"

namespace tiller {
namespace {

constexpr double kLargest = 448, kLeastRow = 1e-30;
/// Of rows that a thread takes at once.
constexpr int64_t kFp8Grain = 1 << 15;

constexpr auto fp8_kernels =
    kernels::chosen<kernels::fp8_baseline, kernels::fp8_avx2, kernels::fp8_avx512>;

/// decode(values, scale, out, columns) of each row.
template <class T, class Decode>
void decode_rows(const Fp8Rows& rows, T* out, const Decode& decode) {
  const int64_t columns = rows.values.size(1);
  const auto* values = static_cast<const uint8_t*>(rows.values.const_data_ptr());
  const auto* scales = rows.scales.const_data_ptr<float>();
  const int64_t grain = std::max<int64_t>(1, kFp8Grain / std::max<int64_t>(columns, 1));
  parallel_for(0, rows.values.size(0), grain, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      decode(values + r * columns, scales[r], out + r * columns, columns);
  });
}

Tensor from_fp8_cpu(const Fp8Rows& rows, at::ScalarType dtype) {
  const Fp8Rows plain{rows.values.contiguous(), rows.scales.contiguous()};
  Tensor out = at::empty(rows.values.sizes(), at::TensorOptions(dtype));
  if (dtype == at::kFloat)
    decode_rows(plain, out.mutable_data_ptr<float>(), fp8_kernels().to_float);
  else
    decode_rows(plain, reinterpret_cast<uint16_t*>(out.mutable_data_ptr<at::BFloat16>()),
                fp8_kernels().to_bfloat16);
  return out;
}

Tensor linear_of_rounded(const Tensor& x, const Fp8Rows& weight, const Tensor& bias) {
  const Tensor rows = x.detach().flatten(0, -2);
  Tensor rounded = from_fp8(to_fp8(rows), x.scalar_type()).view(x.sizes());
  if (wants_gradients({x})) rounded = x + (rounded - x.detach());
  return linear_of(rounded, from_fp8(weight, x.scalar_type()), bias);
}

/// On Hopper LibTorch multiplies in FP8 with a scale a row. On what came later it fails or hasn't
/// been tried.
bool multiplies_fp8(const Tensor& x) {
  static const auto capability = operation<int64_t(const Tensor&)>("tiller::compute_capability");
  return capability.call(x) / 10 == 9;
}

Tensor scaled_product(const Tensor& x, const Fp8Rows& weight, const Tensor& bias) {
  const Fp8Rows rows = to_fp8(x.flatten(0, -2).contiguous());
  std::optional<Tensor> added;
  if (bias.defined()) added = bias.to(at::kBFloat16);
  const Tensor y = at::_scaled_mm(rows.values, weight.values.t(), rows.scales, weight.scales.t(),
                                  added, std::nullopt, at::kBFloat16);
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.back() = weight.values.size(0);
  return y.to(x.scalar_type()).view(sizes);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(tiller, library) {
  library.def("fp8_rows(Tensor x) -> (Tensor, Tensor)");
  library.def("compute_capability(Tensor x) -> int");
}

TORCH_LIBRARY_IMPL(tiller, CompositeExplicitAutograd, library) {
  library.impl("fp8_rows", [](const Tensor& x) {
    Fp8Rows rows = to_fp8_reference(x);
    return std::tuple(std::move(rows.values), std::move(rows.scales));
  });
  library.impl("compute_capability", [](const Tensor&) { return int64_t(0); });
}

Fp8Rows to_fp8_reference(const Tensor& x) {
  const Tensor most = x.abs().amax(-1, true).to(at::kFloat).clamp_min(kLeastRow);
  const auto [mantissa, exponent] = at::frexp(most / kLargest);
  const Tensor powers = at::ldexp(at::where(mantissa == 0.5, 0.5, 1.0), exponent).to(at::kFloat);
  const Tensor scales = at::where(most.isfinite(), powers, NAN);
  const Tensor inverse = scales.reciprocal();
  return {(x * inverse).clamp(-kLargest, kLargest).to(at::kFloat8_e4m3fn), scales};
}

Fp8Rows to_fp8(const Tensor& x) {
  if (!x.is_cuda() || x.scalar_type() == at::kDouble) return to_fp8_reference(x);
  static const auto round =
      operation<std::tuple<Tensor, Tensor>(const Tensor&)>("tiller::fp8_rows");
  auto [values, scales] = round.call(x);
  return {std::move(values), std::move(scales)};
}

Tensor from_fp8(const Fp8Rows& rows, at::ScalarType dtype) {
  const bool has_loop = dtype == at::kFloat || dtype == at::kBFloat16;
  if (rows.values.is_cpu() && has_loop) return from_fp8_cpu(rows, dtype);
  return rows.values.to(at::kFloat).mul_(rows.scales).to(dtype);
}

Tensor fp8_linear(const Tensor& x, const Fp8Rows& weight, const Tensor& bias) {
  const bool fits = weight.values.size(0) % 16 == 0 && weight.values.size(1) % 16 == 0;
  const bool in_fp8 = x.is_cuda() && fits && x.numel() > 0 && !wants_gradients({x});
  return in_fp8 && multiplies_fp8(x) ? scaled_product(x, weight, bias)
                                     : linear_of_rounded(x, weight, bias);
}

Tensor Fp8Weight::linear(const Tensor& x, const Tensor& weight, const Tensor& bias) const {
  if (weight.scalar_type() != at::kFloat8_e4m3fn) {
    const c10::InferenceMode kept_beyond_it(false);
    const at::NoGradGuard no_gradients;
    const Fp8Rows rows = to_fp8(weight.detach().flatten(1));
    weight.set_data(rows.values.view(weight.sizes()));
    *scales_ = rows.scales;
  }
  if (scales_->device() != x.device()) *scales_ = scales_->to(x.device());
  return fp8_linear(x, {weight.flatten(1), *scales_}, bias);
}

}  // namespace tiller
