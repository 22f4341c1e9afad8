#pragma once
#include <ATen/core/Tensor.h>

#include <deque>

namespace tiller {
using at::Tensor;

/// Anderson's acceleration of z = f(z), each row (image) for itself: Walker and Ni, "Anderson
/// acceleration for fixed-point iterations", SIAM J. Numer. Anal. 2011, equation 2.2.
class AndersonMixing {
 public:
  /// Mixes the last `memory` guesses.
  explicit AndersonMixing(size_t memory) : memory_(memory) {}
  /// The next guess, after f(guess) = image. (B, ...), floating.
  Tensor next(const Tensor& guess, const Tensor& image);

 private:
  struct Past {
    Tensor image, residual;  ///< f(z) and f(z) - z, (B, n).
  };
  size_t memory_;
  std::deque<Past> past_;  ///< The latest last.
};

}  // namespace tiller
