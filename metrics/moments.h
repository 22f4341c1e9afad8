#pragma once
/// Mean and covariance of features, added up as images are made.
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

/// What the Fréchet distance compares.
struct Moments {
  int64_t count = 0;  ///< Images; 0 where a file of statistics doesn't say.
  Tensor mean;        ///< (D) float64.
  Tensor covariance;  ///< (D, D) float64, divided by count - 1.

  int64_t width() const { return mean.size(0); }
};

/// Sums in float64 over features x: their number, sum of x - o and sum of (x - o)(x - o)^T with an
/// origin o. The sums of parts add up to the sums of the whole, in any order.
class MomentSum {
 public:
  explicit MomentSum(int64_t width);
  /// origin: (D), the same for all parts that are to be merged. Sums round off less the nearer it
  /// is to the mean, which matters once the mean is thousands of standard deviations from 0; the
  /// reference's mean will do.
  explicit MomentSum(const Tensor& origin);
  MomentSum(MomentSum&&) = default;
  MomentSum& operator=(MomentSum&&) = default;

  int64_t width() const { return origin_.size(0); }
  int64_t count() const;

  /// features: (B, D), of any floating type and device. Throws Error on another width and on values
  /// that aren't finite.
  void add(const Tensor& features);
  /// Throws Error when the other has another width or origin.
  void merge(const MomentSum&);
  /// Throws Error below two images.
  Moments moments() const;

  /// (D + 1, D + 1) float64, contiguous, on the CPU: [[N, sum^T], [sum, sum of outer products]]. It
  /// may be saved, restored by copying into it, and all-reduced (sum) in place.
  Tensor& sums() { return sums_; }
  const Tensor& sums() const { return sums_; }

 private:
  Tensor origin_, sums_;
};

/// Of features (N, D) held as a whole, with an origin near their mean.
Moments moments_of(const Tensor& features);

/// Throws Error unless both have the same width and nothing but finite numbers.
void check_comparable(const Moments& a, const Moments& b);

}  // namespace tiller
