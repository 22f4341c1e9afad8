#include <cmath>

#include "samplers/ancestral.h"
#include "samplers/registry.h"
#include "samplers/step.h"

namespace tiller {
namespace {

/// Where a step's noise begins and ends, in the float32 of diffusers' scheduler: a path's noise
/// depends on every bit of these.
struct PathPoints {
  double from, middle, to;
};

PathPoints path_points(double from, double to) {
  const auto t_of = [](double sigma) { return at::scalar_tensor(sigma, at::kFloat).log().neg(); };
  const auto sigma_of = [](const Tensor& t) { return t.neg().exp().item<double>(); };
  const Tensor t = t_of(from), t_next = t_of(to);
  return {sigma_of(t), sigma_of(t + (t_next - t) * 0.5), sigma_of(t_next)};
}

/// The path that a run's noise comes from.
NoisePath noise_path(const Trajectory& trajectory, NoiseSource& noise, const Tensor& x) {
  double low = trajectory.levels.front().sigma;
  const double high = std::max(low, trajectory.highest_sigma);
  for (const auto& level : trajectory.levels)
    if (level.sigma > 0) low = std::min(low, level.sigma);
  return noise.path(x, static_cast<float>(low), static_cast<float>(high));
}

/// To `to` with the estimate held, over an ancestral step.
Tensor stepped(const Tensor& x, const Combination& sample, const Tensor& noise, double from,
               double to, const DpmSdeOptions& options) {
  const auto [down, up] = ancestral_step(from, to, options.eta);
  return sample + (down / from) * (x - sample) + up * options.s_noise * Combination(noise);
}

}  // namespace

Tensor sample_dpmpp_sde(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                        const DpmSdeOptions& options, NoiseSource& noise,
                        const Observer& observer) {
  x = as_state(x);
  const NoisePath path = noise_path(trajectory, noise, x);
  for (int i = 0; i < trajectory.steps(); ++i) {
    const double from = trajectory.levels[i].sigma, to = trajectory.landing(i).sigma;
    const Prediction p = denoise(x, trajectory.levels[i]);
    if (to > 0) {
      const double middle = std::sqrt(from * to);
      const NoiseLevel level{1, middle, trajectory.timestep_of(middle), i};
      const auto points = path_points(from, to);
      const Tensor half = path(points.from, points.middle);
      Tensor inner = stepped(x, p.sample, half, from, middle, options);
      report_within(observer, trajectory, i, trajectory.landing(i), inner, p);
      const Tensor whole = path(points.from, points.to);
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
