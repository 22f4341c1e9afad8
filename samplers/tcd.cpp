#include <cmath>

#include "samplers/registry.h"
#include "samplers/step.h"

namespace tiller {
namespace {

Tensor tcd_step(const Tensor& x, const Prediction& p, const Trajectory& trajectory, int i,
                double eta, NoiseSource& noise) {
  const NoiseLevel& to = trajectory.landing(i);
  const NoiseLevel below = trajectory.level_at(std::floor((1 - eta) * to.timestep));
  const Combination next = below.alpha * p.sample + below.sigma * noise_of(p);
  const double kept = to.alpha / below.alpha;
  if (eta <= 0 || i + 1 == trajectory.steps()) return next;
  return kept * next + std::sqrt(std::max(0.0, 1 - kept * kept)) * Combination(noise.draw(x));
}

double tcd_eta(const Options& options) { return options.number("eta", 0, 1); }

}  // namespace

Tensor sample_tcd(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                  const TcdOptions& options, NoiseSource& noise, const Observer& observer) {
  x = as_state(x);
  for (int i = 0; i < trajectory.steps(); ++i) {
    const Prediction p = denoise(x, trajectory.levels[i]);
    x = tcd_step(x, p, trajectory, i, options.eta, noise);
    report(observer, trajectory, i, x, p);
  }
  return x;
}

namespace {

/// TCDScheduler ends at timestep 0, not at x_0.
Trajectory tcd_trajectory(const NoiseSchedule& schedule, const TrajectoryConfig& config) {
  Trajectory trajectory = consistency_trajectory(schedule, config);
  const int steps = trajectory.steps();
  trajectory.levels.back() = trajectory.level_at(0);
  trajectory.levels.back().step = steps;
  return trajectory;
}

}  // namespace

Sampler tcd_sampler() {
  return {.name = "tcd",
          .description = "Trajectory consistency distillation: few steps, eta sets their noise",
          .paper = "2402.19159",
          .scheduler = "TCDScheduler",
          .options = {{"eta", "0",
                       "0: deterministic, as diffusers' pipelines; 0.3: the authors'; 1: as lcm"},
                      {"original_steps", "50", "the timesteps that the model was distilled on"}},
          .trajectory = tcd_trajectory,
          .run =
              [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                 const Options& options, NoiseSource& noise, const Observer& observer) {
                return sample_tcd(denoise, std::move(x), trajectory, {tcd_eta(options)}, noise,
                                  observer);
              },
          .step =
              [](const Tensor& x, const Prediction& p, const Trajectory& trajectory, int i,
                 const Options& options, NoiseSource& noise) {
                return tcd_step(x, p, trajectory, i, tcd_eta(options), noise);
              }};
}

}  // namespace tiller
