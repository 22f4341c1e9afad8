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
  if (spacing == Spacing::leading || spacing == Spacing::beta || !config.respacing.empty())
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

/// arXiv 2209.03003's networks know times from 1e-3, not 0, to 1.
double known_share(const NoiseSchedule& schedule) {
  return schedule.flow == PredictionType::rectified_flow ? 1 - 1e-3 : 1;
}

/// What part of the line a run goes over.
enum class Line { known, whole };

NoiseLevel flow_level(const NoiseSchedule& schedule, double sigma, Line line, size_t step) {
  const double told = sigma * known_share(schedule);
  if (line == Line::known) sigma = told;
  return {1 - sigma, sigma, flow_timestep(*schedule.flow, told, schedule.size()),
          static_cast<int>(step)};
}

Trajectory flow_trajectory(NoiseSchedule schedule, const TrajectoryConfig& config, Line line) {
  schedule.shift = config.shift.value_or(schedule.shift);
  std::vector<double> sigmas = flow_sigmas(schedule, config);
  for (double& sigma : sigmas) sigma = shifted_sigma(sigma, schedule.shift);
  if (config.sigmas == SigmaRule::ays_sd15 || config.sigmas == SigmaRule::ays_sdxl ||
      config.sigmas == SigmaRule::listed)
    throw UsageError(
        "sigmas: got those of a diffusion model, expected karras, exponential or beta: "
        "this model is a flow.");
  if (config.sigmas != SigmaRule::none)
    sigmas = ruled_sigmas(config, sigmas.size(), sigmas.back(), sigmas.front(), {});
  sigmas.push_back(config.final_sigma_zero ? 0 : schedule.flow_sigma(0));
  Trajectory trajectory;
  for (const double sigma : sigmas)
    trajectory.levels.push_back(flow_level(schedule, sigma, line, trajectory.levels.size()));
  trajectory.timestep_of = [type = *schedule.flow, timesteps = schedule.size()](double ratio) {
    return flow_timestep(type, ratio / (1 + ratio), timesteps);
  };
  trajectory.cleanest = {1 - schedule.flow_sigma(0), schedule.flow_sigma(0)};
  return trajectory;
}

Trajectory trajectory_over(Line line, const NoiseSchedule& schedule,
                           const TrajectoryConfig& config) {
  if (schedule.flow) return flow_trajectory(schedule, config, line);
  if (config.shift) throw UsageError("shift: got one for a model that is no flow, expected none.");
  return sigma_trajectory(schedule, config);
}

}  // namespace

Trajectory ode_trajectory(const NoiseSchedule& schedule, const TrajectoryConfig& config) {
  return trajectory_over(Line::known, schedule, config);
}

Trajectory euler_trajectory(const NoiseSchedule& schedule, const TrajectoryConfig& config) {
  return trajectory_over(Line::whole, schedule, config);
}

}  // namespace tiller
