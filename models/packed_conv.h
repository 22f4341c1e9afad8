#pragma once
#include "models/packed_weight.h"

namespace tiller {

/// Whether large weights may be kept a second time; they are unless this says no. Packed and plain
/// weights round differently: to be said once, before anything is evaluated.
void keep_packed_weights(bool);

/// A convolution's weight as oneDNN reads it, or winograd_conv.h.
class PackedConv {
 public:
  /// conv2d(x, weight, bias, stride, padding); undefined where nothing is packed: with gradients,
  /// off the CPU, for 1x1 kernels, for types that are widened (products.h) where Winograd's
  /// filtering doesn't serve, and for large weights where they aren't kept.
  Tensor operator()(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t stride,
                    int64_t padding) const;

 private:
  PackedWeight packed_;
};

}  // namespace tiller
