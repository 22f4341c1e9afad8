#include "samplers/dpmpp_multistep.h"

#include <algorithm>
#include <cmath>
#include <deque>

#include "samplers/log_snr.h"
#include "samplers/registry.h"
#include "samplers/step.h"

namespace tiller {
namespace {

using Solver = DpmMultistepOptions::Solver;
using ThirdOrder = DpmMultistepOptions::ThirdOrder;

/// An estimate of x_0 and the step in log SNR that was made from it.
struct Past {
  Tensor sample;
  double h;
};

/// The estimates' divided differences in units of this step: h D' and h^2 D'' / 2 to leading order.
struct Differences {
  Combination first, second;  ///< Undefined where the order doesn't reach.
};

Differences differences(const Combination& sample, double h, const std::deque<Past>& past,
                        int order) {
  if (order < 2) return {};
  const double r0 = past[0].h / h;
  const Combination first = (sample - past[0].sample) / r0;
  if (order < 3) return {first, {}};
  const double r1 = past[1].h / h;
  const Combination before = difference(past[0].sample, past[1].sample) / r1;
  const Combination second = (first - before) / (r0 + r1);
  return {first + r0 * second, second};
}

/// The weights of the differences in units of alpha, for H = (1 + eta) h.
struct Weights {
  double first, second;
};

Weights weights(double grown_h, bool third_order, const DpmMultistepOptions& options) {
  const double grown = -std::expm1(-grown_h), phi = 1 - grown / grown_h;
  const bool midpoint = options.solver == Solver::midpoint && !third_order;
  const double first = midpoint ? grown / 2 : phi;
  if (options.third_order == ThirdOrder::exact) return {first, 1 - 2 * phi / grown_h};
  const double half = options.eta > 0 && options.third_order == ThirdOrder::diffusers ? -0.5 : 0.5;
  return {first, half - phi / grown_h};
}

/// Steps from one level to another by the estimate and its differences, without the noise.
Combination stepped(const Tensor& x, const Combination& sample, const Differences& d,
                    const NoiseLevel& from, const NoiseLevel& to,
                    const DpmMultistepOptions& options) {
  const double h = log_snr(to) - log_snr(from), grown_h = h * (1 + options.eta);
  const double kept = to.sigma > 0 ? to.sigma / from.sigma * std::exp(-options.eta * h) : 0;
  Combination result = kept * Combination(x) - (to.alpha * std::expm1(-grown_h)) * sample;
  if (!d.first.defined()) return result;
  const Weights weight = weights(grown_h, d.second.defined(), options);
  result = result + (to.alpha * weight.first) * d.first;
  return d.second.defined() ? result + (to.alpha * weight.second) * d.second : result;
}

}  // namespace

double dpm_noise(const NoiseLevel& from, const NoiseLevel& to, double eta) {
  if (to.sigma == 0) return 0;
  const double h = std::max(0.0, log_snr(to) - log_snr(from));
  return to.sigma * std::sqrt(-std::expm1(-2 * eta * h));
}

int dpm_order(const Trajectory& trajectory, int level, const DpmMultistepOptions& options) {
  const int remaining = trajectory.steps() - level;
  const bool lowered =
      options.lower_order_final && trajectory.steps() + trajectory.skipped_steps < 15;
  if (is_flat(trajectory.levels[level], trajectory.landing(level))) return 1;
  if (remaining == 1 && (lowered || options.euler_at_final)) return 1;
  const int most = lowered && remaining == 2 ? std::min(2, options.order) : options.order;
  return std::min(level + 1, most);
}

Tensor dpm_step(const Trajectory& trajectory, int level, const DpmMultistepOptions& options,
                const Tensor& x, const Combination& sample, const Tensor& sample_before) {
  const NoiseLevel &from = trajectory.levels[level], &to = trajectory.landing(level);
  std::deque<Past> past;
  if (sample_before.defined())
    past.push_front({sample_before, log_snr(from) - log_snr(trajectory.levels[level - 1])});
  const int order = sample_before.defined() ? dpm_order(trajectory, level, options) : 1;
  const double h = log_snr(to) - log_snr(from);
  return stepped(x, sample, differences(sample, h, past, order), from, to, options);
}

Tensor sample_dpmpp_multistep(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                              const DpmMultistepOptions& options, NoiseSource& noise,
                              const Observer& observer) {
  x = as_state(x);
  std::deque<Past> past;  // the latest first
  for (int i = 0; i < trajectory.steps(); ++i) {
    const NoiseLevel &from = trajectory.levels[i], &to = trajectory.landing(i);
    const Prediction p = denoise(x, from);
    const double h = log_snr(to) - log_snr(from);
    const auto d = differences(p.sample, h, past, dpm_order(trajectory, i, options));
    Combination next = stepped(x, p.sample, d, from, to, options);
    if (options.eta > 0)
      next.add(noise.draw(x), dpm_noise(from, to, options.eta) * options.s_noise);
    x = next;
    past.push_front({p.sample, h});
    if (past.size() > 2) past.pop_back();
    report(observer, trajectory, i, x, p);
  }
  return x;
}

namespace {

/// Without noise k-diffusion's weight is diffusers'.
ThirdOrder third_order_from(const Options& options) {
  std::vector<std::string> known = {"diffusers", "exact"};
  if (options.has("eta")) known.push_back("k-diffusion");
  const std::string name = options.choice("third_order", known);
  if (name == "exact") return ThirdOrder::exact;
  return name == "k-diffusion" ? ThirdOrder::k_diffusion : ThirdOrder::diffusers;
}

}  // namespace

DpmMultistepOptions dpm_options(const Options& options, int highest_order) {
  DpmMultistepOptions dpm;
  dpm.order = bounded_integer(options, "order", 1, highest_order);
  const auto solver = options.choice("solver", {"midpoint", "heun"});
  dpm.solver = solver == "heun" ? Solver::heun : Solver::midpoint;
  dpm.lower_order_final = options.flag("lower_order_final");
  dpm.euler_at_final = options.flag("euler_at_final");
  if (options.has("eta")) dpm.eta = options.number("eta", 0, 10);
  if (options.has("s_noise")) dpm.s_noise = options.number("s_noise", 0);
  if (options.has("third_order")) dpm.third_order = third_order_from(options);
  return dpm;
}

std::vector<Option> dpm_option_list(int order) {
  return {{"order", std::to_string(order), "how many steps' estimates a step uses"},
          {"solver", "midpoint", "midpoint or heun: the weights of second order"},
          {"lower_order_final", "true", "last steps at lower order in runs of fewer than 15"},
          {"euler_at_final", "false", "last step at first order"},
          {"lambda_min_clipped", "", "no timesteps of a smaller log SNR"}};
}

namespace {

template <int highest_order>
Tensor sample_multistep(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                        const Options& options, NoiseSource& noise, const Observer& observer) {
  const auto dpm = dpm_options(options, highest_order);
  return sample_dpmpp_multistep(denoise, std::move(x), trajectory, dpm, noise, observer);
}

std::vector<Option> stochastic_options(int order) {
  auto options = dpm_option_list(order);
  options.push_back({"eta", "1", "how much noise, 0: none"});
  options.push_back({"s_noise", "1", "scale of the noise"});
  return options;
}

Sampler multistep(const std::string& name, const std::string& description,
                  std::vector<Option> options) {
  return {.name = name,
          .description = description,
          .paper = "2211.01095",
          .scheduler = "DPMSolverMultistepScheduler",
          .options = std::move(options),
          .trajectory = open_trajectory,
          .run = sample_multistep<2>};
}

Trajectory karras_trajectory(const NoiseSchedule& schedule, const TrajectoryConfig& config) {
  TrajectoryConfig karras = config;
  if (karras.sigmas == SigmaRule::none) karras.sigmas = SigmaRule::karras;
  return open_trajectory(schedule, karras);
}

}  // namespace

Sampler dpmpp_2m_sampler() {
  return multistep("dpm++2m",
                   "DPM-Solver++(2M): second order from two steps, one evaluation a step",
                   dpm_option_list(2));
}

Sampler dpmpp_2m_karras_sampler() {
  Sampler sampler =
      multistep("dpm++2m-karras", "DPM-Solver++(2M) on Karras sigmas", dpm_option_list(2));
  sampler.trajectory = karras_trajectory;
  return sampler;
}

Sampler dpmpp_3m_sampler() {
  auto options = dpm_option_list(3);
  options.push_back(
      {"third_order", "diffusers",
       "diffusers: half the second difference's weight, of second order; exact: all, of third"});
  Sampler sampler = multistep(
      "dpm++3m", "DPM-Solver++(3M): from three steps, one evaluation a step", std::move(options));
  sampler.run = sample_multistep<3>;
  return sampler;
}

Sampler dpmpp_2m_sde_sampler() {
  return multistep("dpm++2m-sde", "SDE-DPM-Solver++(2M): as dpm++2m, with fresh noise each step",
                   stochastic_options(2));
}

Sampler dpmpp_3m_sde_sampler() {
  auto options = stochastic_options(3);
  options.push_back({"third_order", "diffusers",
                     "diffusers, k-diffusion or exact: the second difference's weight; third "
                     "order where eta=0 takes exact"});
  Sampler sampler =
      multistep("dpm++3m-sde", "SDE-DPM-Solver++(3M): as dpm++3m, with fresh noise each step",
                std::move(options));
  sampler.run = sample_multistep<3>;
  return sampler;
}

}  // namespace tiller
