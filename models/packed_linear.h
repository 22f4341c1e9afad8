#pragma once
#include "models/packed_weight.h"

namespace tiller {

/// Whether weights of linear layers may be kept a second time; they are unless this says no.
/// Packed and plain weights round differently: to be said once, before anything is evaluated.
void keep_packed_linears(bool);

/// A linear layer's weight as oneDNN reads it. A row of a result depends neither on the number of
/// rows nor on that of threads.
class PackedLinear {
 public:
  PackedLinear() = default;
  explicit PackedLinear(bool wanted) : wanted_(wanted) {}

  /// linear(x (R, N, in), weight (out, in[, 1[, 1]]), bias); undefined where nothing is packed: if
  /// it isn't wanted or kept, of at most 65,536 weights, with gradients, off the CPU, in other
  /// types than float32, and where oneDNN's sums depend on the number of rows: without AVX-512, and
  /// for N = 1.
  Tensor operator()(const Tensor& x, const Tensor& weight, const Tensor& bias) const;

 private:
  bool wanted_ = false;
  PackedWeight packed_;
};

}  // namespace tiller
