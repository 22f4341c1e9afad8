#pragma once
#include <ATen/ATen.h>

namespace tiller {

using at::Tensor;

/// How an epsilon is made more like noise: arXiv 2403.14602, section 3.3, after 2302.03027.
struct NoiseRegularization {
  int steps = 4;              ///< Of gradient descent; 0: none.
  int rolls = 5;              ///< Random shifts a step at which autocorrelation is measured.
  double divergence = 0.065;  ///< Rate against patches' divergence from `like`'s.
  double correlation = 20;    ///< Rate against autocorrelation at 64x64; acts alike at other sizes.
};

/// epsilon and like: (B, C, H, W) of at least 4x4. All images are shifted alike, as `generator`
/// draws. Throws UsageError for smaller ones.
Tensor regularized(Tensor epsilon, const Tensor& like, const NoiseRegularization&,
                   at::Generator generator);

/// Draws what `regularized` draws for an epsilon of these sizes, (B, C, H, W).
void skip_regularized(at::IntArrayRef sizes, const NoiseRegularization&, const at::Generator&);

}  // namespace tiller
