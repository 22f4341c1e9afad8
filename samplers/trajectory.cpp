#include "samplers/trajectory.h"

#include <algorithm>
#include <cmath>

#include "io/error.h"

namespace tiller {
namespace {

NoiseLevel level_of_abar(double abar, double timestep = 0, int step = 0) {
  return {std::sqrt(abar), std::sqrt(1 - abar), timestep, step};
}

/// Variance preserving, from sigma = sigma / alpha.
NoiseLevel level_of_sigma(double sigma, double timestep, int step) {
  const double alpha = 1 / std::sqrt(sigma * sigma + 1);
  return {alpha, sigma * alpha, timestep, step};
}

std::vector<double> chosen_timesteps(int64_t timesteps, const TrajectoryConfig& config,
                                     Spacing usual, SpacingStyle style,
                                     std::optional<int64_t> usable = {}) {
  if (!config.respacing.empty()) return respaced_timesteps(config.respacing, timesteps);
  return spaced_timesteps(config.spacing.value_or(usual), style, timesteps, config.steps,
                          config.steps_offset, usable);
}

std::function<double(double)> network_timestep_of(const NoiseSchedule& schedule) {
  if (schedule.flow)
    return [type = *schedule.flow, timesteps = schedule.size()](double sigma) {
      return flow_timestep(type, sigma / (1 + sigma), timesteps);
    };
  if (schedule.edm) return edm_timestep;
  return [schedule, table = sigma_table(schedule)](double sigma) {
    return schedule.network_timestep(timestep_at(table, sigma));
  };
}

std::function<NoiseLevel(double)> level_function(const NoiseSchedule& schedule) {
  return [schedule](double timestep) {
    const auto t = static_cast<int64_t>(std::nearbyint(schedule.table_timestep(timestep)));
    const int64_t last = schedule.size() - 1;
    return level_of_abar(schedule.alphas_cumprod[std::clamp<int64_t>(t, 0, last)], timestep);
  };
}

/// Where DDIMScheduler's steps land: T / N below each timestep.
std::vector<NoiseLevel> fixed_stride_landings(const NoiseSchedule& schedule,
                                              const std::vector<double>& timesteps, int steps,
                                              double final_abar) {
  std::vector<NoiseLevel> landings;
  for (double t : timesteps) {
    const int64_t landing = static_cast<int64_t>(t) - schedule.size() / steps;
    landings.push_back(level_of_abar(landing >= 0 ? schedule.alphas_cumprod[landing] : final_abar,
                                     schedule.network_timestep(double(landing))));
  }
  return landings;
}

/// DPMSolverMultistepScheduler rounds the timesteps of Karras' and Lu's sigmas unless the betas are
/// cosine, and truncates others.
double whole_timestep(double t, const NoiseSchedule& schedule, SigmaRule rule) {
  if (schedule.edm) return t;
  const bool truncated =
      rule == SigmaRule::exponential || rule == SigmaRule::beta || schedule.cosine;
  return truncated ? std::trunc(t) : std::nearbyint(t);
}

/// EDM's networks are made for sigmas of a rule.
SigmaRule rule_for(const NoiseSchedule& schedule, const TrajectoryConfig& config) {
  if (schedule.flow && config.sigmas == SigmaRule::listed)
    throw UsageError("sigmas: got a list for a model that is a flow, expected a rule or shift=.");
  if (config.sigmas != SigmaRule::none || !schedule.edm) return config.sigmas;
  return schedule.exponential ? SigmaRule::exponential : SigmaRule::karras;
}

/// How many of the table's timesteps lambda_min_clipped leaves.
int64_t usable_timesteps(const std::vector<double>& table, const TrajectoryConfig& config) {
  const auto total = static_cast<int64_t>(table.size());
  if (!config.lambda_min_clipped) return total;
  const double highest = std::exp(-*config.lambda_min_clipped);
  return std::max<int64_t>(1,
                           std::upper_bound(table.begin(), table.end(), highest) - table.begin());
}

/// Variance preserving levels at the table's timesteps, then one of final_abar.
Trajectory through_timesteps(const NoiseSchedule& schedule, const std::vector<double>& timesteps,
                             double final_abar) {
  Trajectory trajectory;
  for (double t : timesteps)
    trajectory.levels.push_back(level_of_abar(schedule.alphas_cumprod[static_cast<size_t>(t)],
                                              schedule.network_timestep(t),
                                              static_cast<int>(trajectory.levels.size())));
  trajectory.levels.push_back(level_of_abar(final_abar, 0, static_cast<int>(timesteps.size())));
  trajectory.timestep_of = network_timestep_of(schedule);
  trajectory.level_at = level_function(schedule);
  trajectory.cleanest = level_of_abar(schedule.alphas_cumprod.front());
  return trajectory;
}

void refuse_sigma_rule(const TrajectoryConfig& config) {
  if (config.sigmas != SigmaRule::none)
    throw UsageError(
        "sigmas: got a rule for sigmas, expected none: this sampler runs on the model's own "
        "timesteps. Use euler, heun or dpm++2m.");
}

}  // namespace

std::vector<double> ruled_sigmas(const TrajectoryConfig& config, size_t steps, double sigma_min,
                                 double sigma_max, const std::vector<double>& table) {
  if (config.sigma_min > 0) sigma_min = config.sigma_min;
  if (config.sigma_max > 0) sigma_max = config.sigma_max;
  if (sigma_min > sigma_max)
    throw UsageError("sigma_min: got " + std::to_string(sigma_min) + ", expected at most " +
                     std::to_string(sigma_max) + ", the largest sigma.");
  const int count = static_cast<int>(steps);
  switch (config.sigmas) {
    case SigmaRule::karras:
      return karras_sigmas(count, sigma_min, sigma_max, config.rho);
    case SigmaRule::beta:
      return beta_sigmas(count, sigma_min, sigma_max);
    case SigmaRule::ays_sd15:
    case SigmaRule::ays_sdxl:
      return aligned_sigmas(count, config.sigmas, table);
    case SigmaRule::kl_optimal:
      return kl_optimal_sigmas(count, sigma_min, sigma_max);
    case SigmaRule::listed:
      return config.sigma_list;
    default:
      return exponential_sigmas(count, sigma_min, sigma_max);
  }
}

Trajectory table_trajectory(const NoiseSchedule& schedule, const TrajectoryConfig& config) {
  refuse_sigma_rule(config);
  const Spacing usual = schedule.flow ? Spacing::trailing : Spacing::leading;
  const auto timesteps = chosen_timesteps(schedule.size(), config, usual, SpacingStyle::integer);
  const double final_abar = config.set_alpha_to_one ? 1 : schedule.alphas_cumprod.front();
  Trajectory trajectory = through_timesteps(schedule, timesteps, final_abar);
  if (config.strict && config.respacing.empty() && config.spacing != Spacing::beta)
    trajectory.landings = fixed_stride_landings(schedule, timesteps, config.steps, final_abar);
  return trajectory;
}

Trajectory timestep_trajectory(const NoiseSchedule& schedule,
                               const std::vector<double>& timesteps) {
  const double last = timesteps.back();
  Trajectory trajectory = through_timesteps(schedule, {timesteps.begin(), timesteps.end() - 1},
                                            schedule.alphas_cumprod[static_cast<size_t>(last)]);
  trajectory.levels.back().timestep = schedule.network_timestep(last);
  return trajectory;
}

Trajectory sigma_trajectory(const NoiseSchedule& schedule, const TrajectoryConfig& given) {
  TrajectoryConfig config = given;
  config.sigmas = rule_for(schedule, given);
  const auto table = sigma_table(schedule);
  auto timesteps =
      chosen_timesteps(schedule.size(), config, Spacing::linspace, SpacingStyle::fractional);
  if (schedule.edm && timesteps.size() == 1 && config.respacing.empty())
    timesteps[0] = double(schedule.size() - 1);  // one step begins in pure noise
  std::vector<double> sigmas;
  for (double t : timesteps) sigmas.push_back(sigma_at(table, t));
  if (config.sigmas != SigmaRule::none) {
    sigmas = ruled_sigmas(config, sigmas.size(), sigmas.back(), sigmas.front(), table);
    for (double& sigma : sigmas) sigma = nearest_known(schedule.known_sigmas, sigma);
    timesteps.clear();
    for (const double sigma : sigmas) timesteps.push_back(timestep_at(table, sigma));
  }
  sigmas.push_back(config.final_sigma_zero ? 0 : table.front());
  Trajectory trajectory = custom_trajectory(sigmas, network_timestep_of(schedule));
  if (!schedule.edm)  // which is told any sigma, within the table or not
    for (size_t i = 0; i < timesteps.size(); ++i)
      trajectory.levels[i].timestep = schedule.network_timestep(timesteps[i]);
  trajectory.known_sigmas = schedule.known_sigmas;
  trajectory.cleanest = {1, table.front()};
  if (config.spacing == Spacing::leading || !config.respacing.empty() || schedule.begins_with_data)
    trajectory.initial_scale = std::hypot(sigmas.front(), 1);
  return trajectory;
}

Trajectory open_trajectory(const NoiseSchedule& schedule, const TrajectoryConfig& given) {
  TrajectoryConfig config = given;
  config.sigmas = rule_for(schedule, given);
  const auto table = sigma_table(schedule);
  auto timesteps = chosen_timesteps(schedule.size(), config, Spacing::linspace, SpacingStyle::open,
                                    usable_timesteps(table, config));
  std::vector<double> sigmas;
  for (double t : timesteps) sigmas.push_back(sigma_at(table, t));
  if (config.sigmas != SigmaRule::none) {
    sigmas = ruled_sigmas(config, sigmas.size(), table.front(), table.back(), table);
    for (double& sigma : sigmas) sigma = nearest_known(schedule.known_sigmas, sigma);
    timesteps.clear();
    for (const double sigma : sigmas)
      timesteps.push_back(whole_timestep(timestep_at(table, sigma), schedule, config.sigmas));
  }
  Trajectory trajectory;
  for (size_t i = 0; i < sigmas.size(); ++i)
    trajectory.levels.push_back(
        level_of_sigma(sigmas[i], schedule.network_timestep(timesteps[i]), static_cast<int>(i)));
  trajectory.levels.push_back(level_of_sigma(config.final_sigma_zero ? 0 : table.front(), 0,
                                             static_cast<int>(sigmas.size())));
  trajectory.timestep_of = network_timestep_of(schedule);
  trajectory.level_at = level_function(schedule);
  trajectory.cleanest = level_of_abar(schedule.alphas_cumprod.front());
  return trajectory;
}

Trajectory rounded_trajectory(const NoiseSchedule& schedule, const TrajectoryConfig& config) {
  NoiseSchedule rounding = schedule;
  rounding.cosine = false;
  return open_trajectory(rounding, config);
}

Trajectory consistency_trajectory(const NoiseSchedule& schedule, const TrajectoryConfig& config) {
  refuse_sigma_rule(config);
  if (schedule.edm || schedule.flow == PredictionType::rectified_flow)
    throw UsageError(
        "sampler: got one of consistency models for a network that is told other times than "
        "theirs, expected another, such as euler or heun.");
  const int64_t original = std::min<int64_t>(config.original_steps, schedule.size());
  if (config.steps < 1 || config.steps > original)
    throw UsageError("steps: got " + std::to_string(config.steps) + ", expected 1 to " +
                     std::to_string(original) + ", the steps that the model was distilled on.");
  const int64_t stride = schedule.size() / original;
  const double skip = static_cast<double>(original) / config.steps;
  std::vector<double> timesteps;
  for (int k = 0; k < config.steps; ++k)
    timesteps.push_back(
        static_cast<double>((original - static_cast<int64_t>(k * skip)) * stride - 1));
  return through_timesteps(schedule, timesteps, 1);
}

Trajectory custom_trajectory(const std::vector<double>& sigmas,
                             std::function<double(double)> timestep_of) {
  Trajectory trajectory;
  for (double sigma : sigmas)
    trajectory.levels.push_back(
        {1, sigma, sigma > 0 ? timestep_of(sigma) : 0, static_cast<int>(trajectory.levels.size())});
  for (const auto& level : trajectory.levels)
    if (level.sigma > 0) trajectory.cleanest = level;
  trajectory.initial_scale = sigmas.front();
  trajectory.timestep_of = std::move(timestep_of);
  return trajectory;
}

}  // namespace tiller
