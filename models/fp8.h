#pragma once
#include <ATen/core/Tensor.h>

#include <memory>

namespace tiller {
using at::Tensor;

/// Rows in 8-bit floats (E4M3: three bits of mantissa, up to 448), each times its scale, a power of
/// two: bfloat16 and float32 hold the products without rounding. A row with a value that isn't
/// finite has NaN for its scale.
struct Fp8Rows {
  Tensor values;  ///< (R, C), float8_e4m3fn.
  Tensor scales;  ///< (R, 1), float32.
};

/// x: (R, C), rounded to nearest. On CUDA the operator tiller::fp8_rows has a kernel of its own.
Fp8Rows to_fp8(const Tensor& x);
/// The same out of LibTorch's operations.
Fp8Rows to_fp8_reference(const Tensor& x);

/// (R, C) in `dtype`.
Tensor from_fp8(const Fp8Rows&, at::ScalarType dtype);

/// at::linear of x (..., in), rounded to FP8 too, and a weight (out, in): in FP8 on Hopper,
/// where `in` and `out` are multiples of 16; of the rounded values in x's own type
/// elsewhere. Gradients go through the rounding as if it weren't there.
Tensor fp8_linear(const Tensor& x, const Fp8Rows& weight, const Tensor& bias);

/// Keeps a layer's weight in FP8, in its place, from the layer's first use on.
class Fp8Weight {
 public:
  Fp8Weight() = default;
  explicit Fp8Weight(bool wanted) : scales_(wanted ? std::make_shared<Tensor>() : nullptr) {}

  bool wanted() const { return scales_ != nullptr; }
  /// fp8_linear. weight: (out, in[, 1[, 1]]), the plain one, or in FP8 since the last call.
  Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) const;

 private:
  std::shared_ptr<Tensor> scales_;  ///< Undefined until the first use.
};

}  // namespace tiller
