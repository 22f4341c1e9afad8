#include <algorithm>
#include <cmath>

#include "io/error.h"
#include "samplers/registry.h"
#include "samplers/step.h"

namespace tiller {
namespace {

/// The noise between two ratios sigma / alpha that mu leaves to chance: a step goes down to `down`
/// and comes up by `up`.
struct Split {
  double down, up;
};

Split split(double from, double to, double mu) {
  if (mu == 0) return {to, 0};
  const double down = std::pow(to / std::pow(from, mu), 1 / (1 - mu));
  return {down, std::sqrt(std::max(0.0, to * to - down * down))};
}

}  // namespace

Tensor sample_ge(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                 const GeOptions& options, NoiseSource& noise, const Observer& observer) {
  x = as_state(x);
  Tensor before;
  for (int i = 0; i < trajectory.steps(); ++i) {
    const NoiseLevel &from = trajectory.levels[i], &to = trajectory.landing(i);
    const Prediction p = denoise(x, from);
    const Tensor e = (x - from.alpha * p.sample) / from.sigma;  // so that a clipped sample counts
    Combination sample = p.sample, along = e;
    if (before.defined()) {
      along = options.gamma * along + (1 - options.gamma) * Combination(before);
      sample = sample + from.sigma / from.alpha * (e - along);
    }
    const auto [down, up] = split(from.sigma / from.alpha, to.sigma / to.alpha, options.mu);
    Combination next = to.alpha * (sample + down * along);
    if (options.mu > 0) next.add(noise.draw(x), to.alpha * up);
    x = next;
    before = e;
    report(observer, trajectory, i, x, p);
  }
  return x;
}

namespace {

/// The first timestep whose sigma isn't below; the ends' own at rounding's width.
double first_not_below(const std::vector<double>& table, double sigma) {
  const auto found = std::lower_bound(table.begin(), table.end() - 1, sigma * (1 - 1e-6));
  return static_cast<double>(found - table.begin());
}

/// A rule's sigmas brought to whole timesteps: GEScheduler's styles Linear (exponential: N sigmas
/// down to the T / N-th timestep's, or to a timestep's that sigma_min names, then the cleanest) and
/// EDM (karras: N + 1, of which the run ends at the last), and the others in the same two ways.
std::vector<double> estimated_timesteps(const NoiseSchedule& schedule,
                                        const TrajectoryConfig& config) {
  const auto table = sigma_table(schedule);
  const bool whole = config.sigmas == SigmaRule::karras || config.sigmas == SigmaRule::beta;
  const int64_t last = std::clamp<int64_t>(schedule.size() / config.steps, 0, schedule.size() - 1);
  TrajectoryConfig ruled = config;
  if (!whole && ruled.sigma_min > 0)
    ruled.sigma_min = table[size_t(first_not_below(table, ruled.sigma_min))];
  const auto sigmas = ruled_sigmas(ruled, config.steps + whole, whole ? table.front() : table[last],
                                   table.back(), table);
  std::vector<double> timesteps;
  for (const double sigma : sigmas) timesteps.push_back(first_not_below(table, sigma));
  if (!whole) timesteps.push_back(0);
  return timesteps;
}

Trajectory ge_trajectory(const NoiseSchedule& schedule, const TrajectoryConfig& config) {
  if (config.sigmas == SigmaRule::none) return table_trajectory(schedule, config);
  if (config.steps < 1 || config.steps >= schedule.size())
    throw UsageError("steps: got " + std::to_string(config.steps) + ", expected 1 to " +
                     std::to_string(schedule.size() - 1) + ".");
  return timestep_trajectory(schedule, estimated_timesteps(schedule, config));
}

}  // namespace

Sampler gradient_estimation_sampler() {
  return {.name = "ge",
          .description = "Gradient estimation: DDIM along an epsilon extrapolated from two steps",
          .paper = "2306.04848",
          .options = {{"gamma", "2", "weight of the new epsilon against the last; 1: ddim"},
                      {"mu", "0", "share of a step's noise that is fresh; 0.5 with gamma=1: ddpm"},
                      {"set_alpha_to_one", "", "end at x_0, not at the cleanest timestep"}},
          .trajectory = ge_trajectory,
          .run = [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                    const Options& options, NoiseSource& noise, const Observer& observer) {
            const GeOptions ge{options.number("gamma", 0, 10), options.number("mu", 0, 0.99)};
            return sample_ge(denoise, std::move(x), trajectory, ge, noise, observer);
          }};
}

}  // namespace tiller
