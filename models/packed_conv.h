#pragma once
#include <ATen/core/Tensor.h>

#include <memory>

namespace tiller {
using at::Tensor;

/// A convolution's weight in the order that oneDNN reads it in, kept from one evaluation to the
/// next. Made when it is first asked for, and again when the weight has changed.
class PackedConv {
 public:
  /// conv2d(x, weight, bias, stride, padding); undefined where packing isn't worth its memory or
  /// can't be: with gradients, off the CPU, for large weights and for 1x1 kernels.
  Tensor operator()(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t stride,
                    int64_t padding) const;

 private:
  struct Packed {
    Tensor weight;
    const void* of = nullptr;  ///< The plain weight's values,
    uint32_t version = 0;      ///< and how often they had been written.
  };
  mutable std::shared_ptr<const Packed> packed_;
};

}  // namespace tiller
