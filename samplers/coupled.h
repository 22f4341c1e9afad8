#pragma once
/// Inversions that carry two latents: in floats, float64 throughout, since each step of the inverse
/// multiplies what the other rounded.
#include "samplers/walk.h"

namespace tiller {

/// Two latents that take turns. x is the image's, y the state's partner.
struct Coupled {
  Tensor x, y;  ///< float64.
  Prediction prediction;
};
/// The denoiser's answer to latents whose layout in memory is always the same (networks round
/// otherwise in another), with its epsilon in float64: what the two directions multiply it by
/// isn't the same, and nor is what they would round.
inline Prediction asked(const InversionRun& run, const Tensor& latents, const NoiseLevel& level) {
  Prediction prediction = run.denoise(latents.contiguous(), level);
  prediction.epsilon = prediction.epsilon.tensor().to(at::kDouble);
  return prediction;
}

/// A step of both from levels[level] to its neighbour.
using CoupledStep = std::function<Coupled(const Coupled&, int level)>;

/// Both begin alike where the state has no partner.
InversionState ascend_coupled(const InversionRun&, const InversionState&, int until,
                              const CoupledStep&);
/// An observer that changes x changes y alike, so that what it put there stays.
InversionState descend_coupled(const InversionRun&, const InversionState&, const CoupledStep&);

/// x after descending from noise alone, in the type that it came in. Sampler::run.
template <InversionState (*descend)(const InversionRun&, InversionState)>
Tensor generate_by(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                   const Options& options, NoiseSource&, const Observer& observer) {
  const InversionRun run{denoise, trajectory, options, {}, observer};
  return descend(run, {.latents = x}).latents.to(as_state(x).scalar_type());
}

}  // namespace tiller
