#include <cmath>

#include "samplers/registry.h"
#include "samplers/step.h"

namespace tiller {

Tensor sample_tcd(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                  const TcdOptions& options, NoiseSource& noise, const Observer& observer) {
  x = as_state(x);
  for (int i = 0; i < trajectory.steps(); ++i) {
    const NoiseLevel& to = trajectory.landing(i);
    const Prediction p = denoise(x, trajectory.levels[i]);
    const NoiseLevel below = trajectory.level_at(std::floor((1 - options.eta) * to.timestep));
    x = below.alpha * p.sample + below.sigma * noise_of(p);
    const double kept = to.alpha / below.alpha;
    const bool last = i + 1 == trajectory.steps();
    if (options.eta > 0 && !last)
      x = kept * x + std::sqrt(std::max(0.0, 1 - kept * kept)) * noise.draw(x);
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
          .run = [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                    const Options& options, NoiseSource& noise, const Observer& observer) {
            const TcdOptions tcd{options.number("eta", 0, 1)};
            return sample_tcd(denoise, std::move(x), trajectory, tcd, noise, observer);
          }};
}

}  // namespace tiller
