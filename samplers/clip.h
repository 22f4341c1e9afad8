#pragma once
#include "io/options.h"
#include "models/prediction.h"

namespace tiller {

/// What becomes of epsilon when the estimate of x_0 is clipped.
enum class ClipMode {
  sample_only,        ///< diffusers: epsilon stays as predicted.
  recompute_epsilon,  ///< guided-diffusion: epsilon is what leads to the clipped sample.
};

/// Clamps the estimated x_0 to [-range, range]: `clip_denoised` or `clip_sample`.
Denoiser clipped(Denoiser, ClipMode, double range = 1);

/// Dynamic thresholding, arXiv 2205.11487: clamps each image's x_0 to the `ratio` quantile of its
/// magnitudes, between 1 and `max_value`, and divides by it. Up to a max_value of 1 the quantile
/// has no effect.
struct Threshold {
  double ratio = 0.995;
  double max_value = 1;
};
Denoiser thresholded(Denoiser, const Threshold&);

/// Folds the estimated x_0 back at -range and range. Reflected diffusion (arXiv 2304.04740) folds
/// the state instead, after each step.
Denoiser reflected(Denoiser, double range = 1);
Tensor reflect(const Tensor&, double range);

/// Clips, folds or thresholds as the options clip_sample, clip_sample_range, reflect_sample,
/// thresholding, dynamic_thresholding_ratio and sample_max_value say, thresholding first, as
/// diffusers does.
Denoiser limited(Denoiser, const Options&);

}  // namespace tiller
