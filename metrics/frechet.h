#pragma once
/// The Fréchet distance of two normal distributions (Heusel et al. 2017, arXiv 1706.08500): FID
/// where the features are Inception's.
#include "metrics/moments.h"

namespace tiller {

/// A reference made ready once for many distances. With D features, making it costs one
/// eigendecomposition of (D, D), a distance two products and the eigenvalues of (D, D).
class FrechetReference {
 public:
  explicit FrechetReference(Moments);

  const Moments& moments() const { return moments_; }
  /// (D, D): the symmetric square root of the covariance.
  const Tensor& root() const { return root_; }

  /// |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2) in float64, the last from the eigenvalues of
  /// S2^(1/2) S1 S2^(1/2), so that singular covariances (fewer images than features) do no harm.
  /// Never NaN. Throws Error when the widths differ or an input isn't finite.
  double distance(const Moments&) const;

 private:
  Moments moments_;
  Tensor root_;
};

/// One distance; symmetric in its arguments.
double frechet_distance(const Moments&, const Moments&);

/// A figure and half the width of its 95% confidence interval.
struct Estimate {
  double value = 0, margin = 0;
};

/// How much each image pulls the distance to the reference: (N) float64, the distance's derivative
/// in the image's weight, for features (N, D). The distance's standard error over sets of N images
/// is their std / sqrt(N) (the infinitesimal jackknife). Resampling images as the bootstrap does
/// would be biased: images drawn twice act as fewer images, and the distance grows by O(D / N).
/// Cost at D = 2048: one eigendecomposition and 3 N D^2 multiplications, hence seconds for 10,000
/// images. Throws as distance does.
Tensor frechet_influence(const Tensor& features, const FrechetReference&);

/// The distance and its interval under resampling of the images, the reference held fixed.
Estimate frechet_interval(const Tensor& features, const FrechetReference&);

/// Of a mean over images, from each one's contribution (N). For two schemes with the same seeds,
/// the difference of their influences gives the interval of the difference of their distances.
double confidence_margin(const Tensor& influence);

/// The distance at infinitely many images.
struct FrechetInfinity {
  double value = 0;  ///< Where the line meets 1 / N = 0.
  double slope = 0;  ///< In 1 / N: the bias at N images is about slope / N.
};

/// Chong and Forsyth (arXiv 1911.07023), as dgm-eval has it: distances of random subsets of
/// `points` sizes, equally spaced from `smallest` images (at most half of all) to all; a straight
/// line in 1 / N by least squares. Cost: `points` distances and their covariances; at D = 2048
/// half a minute of a core for 10,000 images and 15 points. Throws Error below 4
/// images or 2 points, and as distance does.
FrechetInfinity frechet_infinity(const Tensor& features, const FrechetReference&,
                                 int64_t points = 15, uint32_t seed = 0, int64_t smallest = 5000);

}  // namespace tiller
