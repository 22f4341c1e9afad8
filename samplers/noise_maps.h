#pragma once
/// Edit-friendly inversion, arXiv 2304.06140: every level's latents are drawn from the image, each
/// with noise of its own, and what the steps of a stochastic sampler miss between them is kept.
#include "samplers/walk.h"

namespace tiller {

/// A stochastic sampler's step to levels[level + 1], in two. Asked level after level, from the
/// noisiest on.
struct NoisyStep {
  /// Where it leads without noise, int64 on the lattice; from latents at levels[level] in float32
  /// and their prediction.
  std::function<Tensor(const Tensor& latents, const Prediction&, int level)> mean;
  std::function<double(int level)> noise;  ///< The standard deviation that it adds.
};

/// The option `eta`, from 0 to `most`; throws UsageError at 0, where steps have no noise to keep.
double eta_to_invert(const Options&, double most);

/// The record, (S, B, C, H, W) int32 on the lattice, is the noise of each step: the paper's
/// sigma_t z_t, equation 5, and of the last step, whose sigma may be 0, what it misses. Draws a
/// noise a level, the cleanest first. Errors name the sampler. Throws UsageError where steps land
/// beside the levels, Error where latents leave the lattice.
InversionState ascend_by_noise_maps(const InversionRun&, const InversionState&, int until,
                                    const NoisyStep&, const std::string& sampler);

/// The same steps with the record's noise. Without one they draw it: InversionRun::noise is as it
/// was before the run's first latents were drawn. Throws Error where the record isn't of the
/// latents' shape.
InversionState descend_by_noise_maps(const InversionRun&, const InversionState&, const NoisyStep&,
                                     const std::string& sampler);

}  // namespace tiller
