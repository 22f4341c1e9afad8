#include <algorithm>
#include <cmath>
#include <deque>

#include "samplers/log_snr.h"
#include "samplers/registry.h"
#include "samplers/step.h"

namespace tiller {
namespace {

/// How many estimates step i uses: 1, 2, ... in turn, each group beginning anew, and 1 in a last
/// step that ends without noise, or that would complete a group and is to be lowered. A run from
/// an image on may begin within a group.
int singlestep_order(const Trajectory& trajectory, int i, const DpmSinglestepOptions& options) {
  const int step = trajectory.skipped_steps + i;
  const int order = std::min(step % options.order + 1, i + 1);
  if (i + 1 < trajectory.steps()) return order;
  const bool lowered = options.lower_order_final && (step + 1) % options.order == 0;
  return lowered || trajectory.landing(i).sigma == 0 ? 1 : order;
}

/// Where a group began.
struct Group {
  Tensor x;
  NoiseLevel from;
};

/// From a group's begin to a level, by the group's estimates, the latest first.
Tensor singlestep(const Group& group, const std::deque<Estimate>& past, int order,
                  const NoiseLevel& to, DpmMultistepOptions::Solver solver) {
  const Estimate &latest = past[0], &first = past[order - 1];
  const double h = log_snr(to) - first.lambda, grown = -std::expm1(-h);
  Combination next = (to.sigma / group.from.sigma) * Combination(group.x);
  next.add(first.sample, to.alpha * grown);
  if (order == 1) return next;
  const bool heun = solver == DpmMultistepOptions::Solver::heun;
  const double r = (latest.lambda - first.lambda) / h, phi = 1 - grown / h;
  const Combination chord = difference(latest.sample, first.sample) / r;
  if (order == 2) return next.add(chord, to.alpha * (heun ? phi : grown / 2));
  if (!heun) return next.add(chord, to.alpha * phi);
  const double r_middle = (past[1].lambda - first.lambda) / h;
  const Combination middle = difference(past[1].sample, first.sample) / r_middle;
  next.add((r * middle - r_middle * chord) / (r - r_middle), to.alpha * phi);
  return next.add((chord - middle) / (r - r_middle), to.alpha * (1 - 2 * phi / h));
}

}  // namespace

Tensor sample_dpmpp_singlestep(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                               const DpmSinglestepOptions& options, NoiseSource&,
                               const Observer& observer) {
  x = as_state(x);
  std::deque<Estimate> past;  // the latest first
  Group group;
  for (int i = 0; i < trajectory.steps(); ++i) {
    const NoiseLevel& from = trajectory.levels[i];
    const Prediction p = denoise(x, from);
    past.push_front({p.sample, log_snr(from)});
    const int order = singlestep_order(trajectory, i, options);
    if (order == 1) group = {x, from};
    x = singlestep(group, past, order, trajectory.landing(i), options.solver);
    if (static_cast<int>(past.size()) >= options.order) past.pop_back();
    report(observer, trajectory, i, x, p);
  }
  return x;
}

namespace {

template <int highest_order>
Tensor run_singlestep(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                      const Options& options, NoiseSource& noise, const Observer& observer) {
  DpmSinglestepOptions dpm;
  dpm.order = bounded_integer(options, "order", 1, highest_order);
  if (options.choice("solver", {"midpoint", "heun"}) == "heun")
    dpm.solver = DpmMultistepOptions::Solver::heun;
  dpm.lower_order_final = options.flag("lower_order_final");
  return sample_dpmpp_singlestep(denoise, std::move(x), trajectory, dpm, noise, observer);
}

Sampler singlestep_sampler(const std::string& name, const std::string& description, int order) {
  return {.name = name,
          .description = description,
          .paper = "2211.01095",
          .scheduler = "DPMSolverSinglestepScheduler",
          .options = {{"order", std::to_string(order), "how many evaluations a group has"},
                      {"solver", "midpoint", "midpoint or heun: the weights of the highest order"},
                      {"lower_order_final", "false", "no group ends with the run"},
                      {"lambda_min_clipped", "", "no timesteps of a smaller log SNR"}},
          .trajectory = rounded_trajectory,
          .run = order > 2 ? run_singlestep<3> : run_singlestep<2>};
}

}  // namespace

Sampler dpmpp_2s_sampler() {
  return singlestep_sampler(
      "dpm++2s", "DPM-Solver++(2S): every second step goes anew from the one before it", 2);
}

Sampler dpmpp_3s_sampler() {
  return singlestep_sampler("dpm++3s", "DPM-Solver++(3S): the same in groups of three steps", 3);
}

}  // namespace tiller
