#include <cmath>

#include "samplers/ancestral.h"
#include "samplers/registry.h"
#include "samplers/step.h"

namespace tiller {
namespace {

/// The unit noise of a step's first half and of the whole step: increments of one Brownian path in
/// sigma, so the second knows the first.
struct PathNoise {
  Tensor half, whole;
};

PathNoise path_noise(double from, double middle, double to, NoiseSource& noise, const Tensor& x) {
  const Tensor first = noise.draw(x), second = noise.draw(x);
  const double share = (from - middle) / (from - to);
  return {first, std::sqrt(share) * first + std::sqrt(1 - share) * second};
}

/// To `to` with the estimate held, over an ancestral step.
Tensor stepped(const Tensor& x, const Tensor& sample, const Tensor& noise, double from, double to,
               const DpmSdeOptions& options) {
  const auto [down, up] = ancestral_step(from, to, options.eta);
  return sample + (down / from) * (x - sample) + up * options.s_noise * noise;
}

}  // namespace

Tensor sample_dpmpp_sde(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                        const DpmSdeOptions& options, NoiseSource& noise,
                        const Observer& observer) {
  x = as_state(x);
  for (int i = 0; i < trajectory.steps(); ++i) {
    const double from = trajectory.levels[i].sigma, to = trajectory.landing(i).sigma;
    const Prediction p = denoise(x, trajectory.levels[i]);
    if (to > 0) {
      const double middle = std::sqrt(from * to);
      const NoiseLevel level{1, middle, trajectory.timestep_of(middle), i};
      const auto [half, whole] = path_noise(from, middle, to, noise, x);
      const Tensor inner = stepped(x, p.sample, half, from, middle, options);
      x = stepped(x, denoise(inner, level).sample, whole, from, to, options);
    } else {
      x = p.sample;
    }
    report(observer, trajectory, i, x, p);
  }
  return x;
}

Sampler dpmpp_sde_sampler() {
  return {.name = "dpm++sde",
          .description = "DPM-Solver++ (SDE): two evaluations and fresh noise a step",
          .paper = "2211.01095",
          .scheduler = "DPMSolverSDEScheduler",
          .options = {{"eta", "1", "share of the noise, 0: none"},
                      {"s_noise", "1", "scale of the noise"}},
          .trajectory = sigma_trajectory,
          .run = [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                    const Options& options, NoiseSource& noise, const Observer& observer) {
            const DpmSdeOptions sde{options.number("eta", 0, 1), options.number("s_noise", 0)};
            return sample_dpmpp_sde(denoise, std::move(x), trajectory, sde, noise, observer);
          }};
}

}  // namespace tiller
