#include <cmath>
#include <deque>

#include "samplers/dpmpp_multistep.h"
#include "samplers/registry.h"
#include "samplers/step.h"

namespace tiller {
namespace {

/// An epsilon and log rho where it was found.
struct DeisPast {
  Tensor epsilon;
  double log_rho;
};

double log_rho(const NoiseLevel& level) { return std::log(level.sigma / level.alpha); }

/// From 0 to rho the integral of the polynomial in log rho that is 1 at nodes[k] and 0 at the
/// others, of which there are at most two.
double rho_integral(double rho, const std::vector<double>& nodes, size_t k) {
  const double u = std::log(rho);
  double sum = 0, product = 1, scale = 1, count = 0;
  for (size_t j = 0; j < nodes.size(); ++j) {
    if (j == k) continue;
    sum += nodes[j];
    product *= nodes[j];
    scale *= nodes[k] - nodes[j];
    ++count;
  }
  if (count == 0) return rho;
  if (count == 1) return rho * (u - 1 - sum) / scale;
  return rho * (u * u - 2 * u + 2 - sum * (u - 1) + product) / scale;
}

/// What each epsilon counts in a step from one rho to another; the latest is where it begins.
std::vector<double> deis_weights(const std::vector<double>& nodes, double from, double to) {
  if (nodes.size() == 1) return {to - from};
  std::vector<double> weights;
  for (size_t k = 0; k < nodes.size(); ++k)
    weights.push_back(rho_integral(to, nodes, k) - rho_integral(from, nodes, k));
  return weights;
}

}  // namespace

Tensor sample_deis(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                   const DeisOptions& options, NoiseSource&, const Observer& observer) {
  const DpmMultistepOptions orders{.order = options.order,
                                   .lower_order_final = options.lower_order_final};
  x = as_state(x);
  std::deque<DeisPast> past;  // the latest first, without this step's
  for (int i = 0; i < trajectory.steps(); ++i) {
    const NoiseLevel &from = trajectory.levels[i], &to = trajectory.landing(i);
    const Prediction p = denoise(x, from);
    const Combination epsilon = (x - from.alpha * p.sample) / from.sigma;
    std::vector<double> nodes = {log_rho(from)};
    for (int k = 1; k < dpm_order(trajectory, i, orders); ++k) nodes.push_back(past[k - 1].log_rho);
    const auto weights = deis_weights(nodes, from.sigma / from.alpha, to.sigma / to.alpha);
    Combination next = (to.alpha / from.alpha) * Combination(x);
    next.add(epsilon, to.alpha * weights[0]);
    for (size_t k = 1; k < nodes.size(); ++k) next.add(past[k - 1].epsilon, to.alpha * weights[k]);
    x = next;
    past.push_front({epsilon, nodes[0]});
    if (static_cast<int>(past.size()) >= options.order) past.pop_back();
    report(observer, trajectory, i, x, p);
  }
  return x;
}

Sampler deis_sampler() {
  return {.name = "deis",
          .description = "DEIS: exponential multistep in log rho, one evaluation a step",
          .paper = "2204.13902",
          .scheduler = "DEISMultistepScheduler",
          .options = {{"order", "2", "1 to 3: how many steps' epsilons a step uses"},
                      {"lower_order_final", "true",
                       "last steps at lower order in runs of fewer than 15"},
                      {"final", "sigma_min", "zero or sigma_min: where the sigmas end"}},
          .trajectory = rounded_trajectory,
          .run = [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                    const Options& options, NoiseSource& noise, const Observer& observer) {
            const DeisOptions deis{bounded_integer(options, "order", 1, 3),
                                   options.flag("lower_order_final")};
            return sample_deis(denoise, std::move(x), trajectory, deis, noise, observer);
          }};
}

}  // namespace tiller
