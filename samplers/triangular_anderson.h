#pragma once
#include <ATen/core/Tensor.h>

#include <deque>
#include <span>
#include <vector>

namespace tiller {
using at::Tensor;

/// Triangular Anderson acceleration, arXiv 2402.09970, section 3.2: of a chain of points each is
/// mixed with weights that come from itself and the points before it alone, so that what has
/// converged at the chain's start stays. Each image for itself.
class TriangularAnderson {
 public:
  /// Mixes the last `memory` sweeps.
  explicit TriangularAnderson(size_t memory) : memory_(memory) {}
  /// What to take off `images` after f(points) = images, both (B, ...), for points first, first +
  /// 1, ... of the chain; undefined: nothing. Points may leave at the front and enter at the end
  /// between sweeps.
  std::vector<Tensor> corrections(int first, std::span<const Tensor> points,
                                  std::span<const Tensor> images);

 private:
  struct Sweep {
    int first;
    Tensor points, residuals;  ///< (P, B, n) float64.
    int end() const { return first + static_cast<int>(points.size(0)); }
  };
  struct Differences;
  Differences differences() const;

  size_t memory_;
  std::deque<Sweep> past_;  ///< The latest last.
};

}  // namespace tiller
