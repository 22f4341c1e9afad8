#include <cmath>

#include "io/error.h"
#include "samplers/trajectory.h"

namespace tiller {
namespace {

/// Unshifted, from 1 downwards; the linspaced end at the table's already shifted smallest.
std::vector<double> flow_sigmas(const NoiseSchedule& schedule, const TrajectoryConfig& config) {
  const bool rectified = schedule.flow == PredictionType::rectified_flow;
  const Spacing spacing =
      config.spacing.value_or(rectified ? Spacing::trailing : Spacing::linspace);
  if (spacing == Spacing::leading || !config.respacing.empty())
    throw UsageError(
        "spacing: got one by timesteps, expected linspace, trailing or sgm-uniform: "
        "this model is a flow.");
  if (config.steps < 1)
    throw UsageError("steps: got " + std::to_string(config.steps) + ", expected at least 1.");
  const double lowest = spacing == Spacing::trailing ? 1.0 / config.steps : schedule.flow_sigma(0);
  const int intervals = spacing == Spacing::sgm_uniform ? config.steps : config.steps - 1;
  std::vector<double> sigmas;
  for (int k = 0; k < config.steps; ++k)
    sigmas.push_back(1 - (intervals ? (1 - lowest) * k / intervals : 0));
  return sigmas;
}

/// arXiv 2209.03003's authors sample over times from 1e-3, not 0, to 1.
double told_sigma(const NoiseSchedule& schedule, double sigma) {
  return schedule.flow == PredictionType::rectified_flow ? sigma * (1 - 1e-3) : sigma;
}

Trajectory flow_trajectory(NoiseSchedule schedule, const TrajectoryConfig& config) {
  schedule.shift = config.shift.value_or(schedule.shift);
  std::vector<double> sigmas = flow_sigmas(schedule, config);
  for (double& sigma : sigmas) sigma = shifted_sigma(sigma, schedule.shift);
  if (config.sigmas == SigmaRule::ays_sd15 || config.sigmas == SigmaRule::ays_sdxl)
    throw UsageError(
        "sigmas: got those of a diffusion model, expected karras, exponential or beta: "
        "this model is a flow.");
  if (config.sigmas != SigmaRule::none)
    sigmas = ruled_sigmas(config, sigmas.size(), sigmas.back(), sigmas.front(), {});
  sigmas.push_back(config.final_sigma_zero ? 0 : schedule.flow_sigma(0));
  Trajectory trajectory;
  for (const double sigma : sigmas)
    trajectory.levels.push_back(
        {1 - sigma, sigma,
         flow_timestep(*schedule.flow, told_sigma(schedule, sigma), schedule.size()),
         static_cast<int>(trajectory.levels.size())});
  trajectory.timestep_of = [type = *schedule.flow, timesteps = schedule.size()](double ratio) {
    return flow_timestep(type, ratio / (1 + ratio), timesteps);
  };
  trajectory.cleanest = {1 - schedule.flow_sigma(0), schedule.flow_sigma(0)};
  return trajectory;
}

}  // namespace

Trajectory ode_trajectory(const NoiseSchedule& schedule, const TrajectoryConfig& config) {
  if (schedule.flow) return flow_trajectory(schedule, config);
  if (config.shift) throw UsageError("shift: got one for a model that is no flow, expected none.");
  return sigma_trajectory(schedule, config);
}

}  // namespace tiller
