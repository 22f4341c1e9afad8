#include <cmath>

#include "samplers/ancestral.h"
#include "samplers/ode.h"
#include "samplers/registry.h"

namespace tiller {
namespace {

/// From x at a level to sigma `to`, along the slope found halfway there in log sigma.
Combination dpm2_step(const Denoiser& denoise, const Tensor& x, const Prediction& p,
                      const Trajectory& trajectory, const NoiseLevel& from, double to,
                      const Observer& observer) {
  if (to == 0) return p.sample;
  const NoiseLevel middle = level_between(trajectory, from.step, std::sqrt(from.sigma * to));
  Tensor half = p.sample + middle.sigma * slope(x, p, from.sigma);
  report_within(observer, trajectory, from.step, level_within(trajectory, from.step), half, p);
  return x + (to - from.sigma) * slope(half, denoise(half, middle), middle.sigma);
}

/// KDPM2DiscreteScheduler rounds the timesteps of Karras' sigmas, unlike Heun's method.
Trajectory dpm2_trajectory(const NoiseSchedule& schedule, const TrajectoryConfig& config) {
  Trajectory trajectory = ode_trajectory(schedule, config);
  if (config.sigmas != SigmaRule::karras || schedule.edm || schedule.flow) return trajectory;
  for (auto& level : trajectory.levels)
    level.timestep =
        schedule.network_timestep(std::nearbyint(schedule.table_timestep(level.timestep)));
  return trajectory;
}

}  // namespace

Tensor sample_dpm2(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                   const Churn& churn, NoiseSource& noise, const Observer& observer) {
  require_churnable(trajectory, churn);
  x = as_state(x);
  for (int i = 0; i < trajectory.steps(); ++i) {
    const NoiseLevel hat = churned(trajectory, i, churn);
    x = raise_noise(x, trajectory.levels[i], hat, churn, noise);
    const Prediction p = denoise(x, hat);
    x = dpm2_step(denoise, x, p, trajectory, hat, trajectory.landing(i).sigma, observer);
    report(observer, trajectory, i, x, p);
  }
  return x;
}

Tensor sample_dpm2_ancestral(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                             const AncestralOptions& options, NoiseSource& noise,
                             const Observer& observer) {
  x = as_state(x);
  for (int i = 0; i < trajectory.steps(); ++i) {
    const NoiseLevel& from = trajectory.levels[i];
    const auto [down, kept, up] = ancestral_landing(from, trajectory.landing(i), options.eta);
    const Prediction p = denoise(x, from);
    Combination next = dpm2_step(denoise, x, p, trajectory, from, down, observer);
    if (down > 0) next.scale(kept).add(noise.draw(x), up * options.s_noise);
    x = next;
    report(observer, trajectory, i, x, p);
  }
  return x;
}

Sampler dpm2_sampler() {
  return {
      .name = "dpm2",
      .description = "DPM-Solver-2: along the slope halfway in log sigma, two evaluations a step",
      .paper = "2206.00927",
      .scheduler = "KDPM2DiscreteScheduler",
      .options = euler_options(),
      .trajectory = dpm2_trajectory,
      .run = [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                const Options& options, NoiseSource& noise, const Observer& observer) {
        return sample_dpm2(denoise, with_prior(x, trajectory, options, noise), trajectory,
                           churn_from(options), noise, observer);
      }};
}

Sampler dpm2_ancestral_sampler() {
  return {.name = "dpm2-a",
          .description = "dpm2 to below the next level, and noise up to it",
          .paper = "2206.00927",
          .scheduler = "KDPM2AncestralDiscreteScheduler",
          .options = ancestral_option_list(),
          .trajectory = dpm2_trajectory,
          .run = [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                    const Options& options, NoiseSource& noise, const Observer& observer) {
            return sample_dpm2_ancestral(denoise, std::move(x), trajectory, ancestral_from(options),
                                         noise, observer);
          }};
}

}  // namespace tiller
