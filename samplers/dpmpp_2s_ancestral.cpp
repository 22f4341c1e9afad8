#include <cmath>

#include "samplers/ancestral.h"
#include "samplers/ode.h"
#include "samplers/registry.h"

namespace tiller {
namespace {

/// Halfway in log(alpha / sigma) to sigma `to` of the same scale. A flow's pure noise, where that
/// is infinite, takes ComfyUI's number.
double halfway(const NoiseLevel& from, double to) {
  if (from.alpha == 0) return 0.9999;
  if (from.alpha == 1) return std::sqrt(from.sigma * to);
  const double ratio = std::sqrt(from.sigma / from.alpha * to / (1 - to));
  return ratio / (1 + ratio);
}

/// From one sigma to `share` of it, with the estimate held.
Combination held(const Tensor& x, const Combination& sample, double share) {
  return sample + share * (x - sample);
}

}  // namespace

Tensor sample_dpmpp_2s_ancestral(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                                 const AncestralOptions& options, NoiseSource& noise,
                                 const Observer& observer) {
  x = as_state(x);
  for (int i = 0; i < trajectory.steps(); ++i) {
    const NoiseLevel &from = trajectory.levels[i], &to = trajectory.landing(i);
    const auto [down, kept, up] = ancestral_landing(from, to, options.eta);
    const Prediction p = denoise(x, from);
    Combination next = p.sample;
    if (down > 0) {
      const NoiseLevel middle = level_between(trajectory, i, halfway(from, down));
      Tensor half = held(x, p.sample, middle.sigma / from.sigma);
      report_within(observer, trajectory, i, middle, half, p);
      next = held(x, denoise(half, middle).sample, down / from.sigma);
    }
    if (to.sigma > 0) next.scale(kept).add(noise.draw(x), up * options.s_noise);
    x = next;
    report(observer, trajectory, i, x, p);
  }
  return x;
}

Sampler dpmpp_2s_ancestral_sampler() {
  return {
      .name = "dpm++2s-a",
      .description =
          "DPM-Solver++(2S) to below the next level, and noise up to it; two evaluations a step",
      .paper = "2211.01095",
      .options = ancestral_option_list(),
      .trajectory = ode_trajectory,
      .run = [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                const Options& options, NoiseSource& noise, const Observer& observer) {
        return sample_dpmpp_2s_ancestral(denoise, std::move(x), trajectory, ancestral_from(options),
                                         noise, observer);
      }};
}

}  // namespace tiller
