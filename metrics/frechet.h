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

/// A distance with what the number of images does to it.
struct FrechetEstimate {
  double value = 0;      ///< The distance of all images, as other tools give it.
  double margin = 0;     ///< Half the width of its 95% interval over sets of as many images.
  double corrected = 0;  ///< Without the bias that falls as 1 / N.
  Tensor pseudovalues;   ///< (blocks): their mean is `corrected`.
};

/// Jackknife (Tukey 1958) over random blocks of images, each left out once, the reference held
/// fixed. For rectified normal features of width D the margin was right to 10% from N = 5 D images
/// on and up to 25% too wide at 2 D; below D neither margin nor correction means much. Resampling
/// with replacement (bootstrap) isn't used: images drawn twice act as fewer images, so that the
/// distance grows by O(D / N), which is more than the interval; nor are derivatives in the images'
/// weights, whose margins were 20% too narrow at 8 D. features: (N, D). Cost: 2 N D^2
/// multiplications and `blocks` distances, at D = 2048 and N = 10,000 half a minute of a core;
/// memory: three matrices of (D, D). Throws Error on fewer than 6 blocks or 2 images a block, and
/// as distance does.
FrechetEstimate frechet_interval(const Tensor& features, const FrechetReference&,
                                 int64_t blocks = 20, uint32_t seed = 0);

/// Half the width of the 95% interval of a.value - b.value, narrower than those of each where image
/// i has the same seed in both. Both need the same blocks, seed and number of images.
double paired_margin(const FrechetEstimate& a, const FrechetEstimate& b);

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
