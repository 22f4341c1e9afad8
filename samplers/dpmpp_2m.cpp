#include <cmath>

#include "samplers/registry.h"
#include "samplers/step.h"

namespace tiller {
namespace {

double log_snr(const NoiseLevel& level) { return std::log(level.alpha) - std::log(level.sigma); }

/// Whether step i may use the estimate of the step before.
bool second_order(const Trajectory& trajectory, int i, const DpmPlusPlus2mOptions& options) {
  if (i == 0) return false;
  if (i + 1 < trajectory.steps()) return true;
  const bool to_zero = trajectory.landing(i).sigma == 0;
  return !to_zero && !(options.lower_order_final && trajectory.steps() < 15);
}

/// The weight of D_1 in units of alpha: algorithm 2 has the midpoint's, section 3 of DPM-Solver
/// Heun's.
double difference_weight(double h, DpmPlusPlus2mOptions::Solver solver) {
  const double grown = -std::expm1(-h);
  return solver == DpmPlusPlus2mOptions::Solver::midpoint ? grown / 2 : 1 - grown / h;
}

}  // namespace

Tensor sample_dpmpp_2m(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                       const DpmPlusPlus2mOptions& options, NoiseSource&,
                       const Observer& observer) {
  x = as_state(x);
  Tensor before;  // the last step's estimate of x_0
  double h_before = 0;
  for (int i = 0; i < trajectory.steps(); ++i) {
    const NoiseLevel &from = trajectory.levels[i], &to = trajectory.landing(i);
    const Prediction p = denoise(x, from);
    const double h = log_snr(to) - log_snr(from);
    x = (to.sigma / from.sigma) * x - (to.alpha * std::expm1(-h)) * p.sample;
    if (second_order(trajectory, i, options)) {
      const double weight = to.alpha * difference_weight(h, options.solver) * h / h_before;
      x = x + weight * (p.sample - before);
    }
    before = p.sample;
    h_before = h;
    report(observer, trajectory, i, x, p);
  }
  return x;
}

namespace {

Tensor run(const Denoiser& denoise, Tensor x, const Trajectory& trajectory, const Options& options,
           NoiseSource& noise, const Observer& observer) {
  using Solver = DpmPlusPlus2mOptions::Solver;
  const auto solver = options.choice("solver", {"midpoint", "heun"});
  const DpmPlusPlus2mOptions dpm{solver == "heun" ? Solver::heun : Solver::midpoint,
                                 options.flag("lower_order_final")};
  return sample_dpmpp_2m(denoise, std::move(x), trajectory, dpm, noise, observer);
}

std::vector<Option> dpmpp_2m_options() {
  return {{"solver", "midpoint", "midpoint or heun"},
          {"lower_order_final", "true", "last step at first order in runs of fewer than 15"}};
}

Trajectory karras_trajectory(const NoiseSchedule& schedule, const TrajectoryConfig& config) {
  TrajectoryConfig karras = config;
  if (karras.sigmas == SigmaRule::none) karras.sigmas = SigmaRule::karras;
  return open_trajectory(schedule, karras);
}

}  // namespace

Sampler dpmpp_2m_sampler() {
  return {.name = "dpm++2m",
          .description = "DPM-Solver++(2M): second order from two steps, one evaluation a step",
          .paper = "2211.01095",
          .options = dpmpp_2m_options(),
          .trajectory = open_trajectory,
          .run = run};
}

Sampler dpmpp_2m_karras_sampler() {
  return {.name = "dpm++2m-karras",
          .description = "DPM-Solver++(2M) on Karras sigmas",
          .paper = "2211.01095",
          .options = dpmpp_2m_options(),
          .trajectory = karras_trajectory,
          .run = run};
}

}  // namespace tiller
