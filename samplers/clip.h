#pragma once
#include "models/prediction.h"

namespace tiller {

/// What becomes of epsilon when the estimate of x_0 is clipped.
enum class ClipMode {
  sample_only,        ///< diffusers: epsilon stays as predicted.
  recompute_epsilon,  ///< guided-diffusion: epsilon is what leads to the clipped sample.
};

/// Clamps the estimated x_0 to [-range, range]: `clip_denoised` or `clip_sample`.
Denoiser clipped(Denoiser, ClipMode, double range = 1);

}  // namespace tiller
