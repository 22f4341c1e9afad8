#include <algorithm>
#include <cmath>
#include <deque>

#include "samplers/ode.h"
#include "samplers/registry.h"

namespace tiller {
namespace {

/// The integral from `from` to `to` of the Lagrange polynomial that is 1 at nodes[k] and 0 at the
/// others, by Gauss-Legendre quadrature, which is exact for degrees below 6.
double lagrange_integral(const std::vector<double>& nodes, size_t k, double from, double to) {
  constexpr double points[] = {-0.7745966692414834, 0, 0.7745966692414834};
  constexpr double weights[] = {5.0 / 9, 8.0 / 9, 5.0 / 9};
  double sum = 0;
  for (int q = 0; q < 3; ++q) {
    const double at = (from + to) / 2 + points[q] * (to - from) / 2;
    double basis = 1;
    for (size_t j = 0; j < nodes.size(); ++j)
      if (j != k) basis *= (at - nodes[j]) / (nodes[k] - nodes[j]);
    sum += weights[q] * basis;
  }
  return sum * (to - from) / 2;
}

/// A slope and the sigma where it was found.
struct Slope {
  Tensor d;
  double sigma;
};

/// LMSDiscreteScheduler counts the steps that a run from an image leaves out: it takes weights of
/// an order for which there aren't slopes yet.
void add_left_out(std::vector<double>& nodes, const Trajectory& trajectory, int order) {
  for (auto level = trajectory.left_out.rbegin(); level != trajectory.left_out.rend(); ++level)
    if (std::ssize(nodes) < order) nodes.push_back(level->sigma);
}

}  // namespace

Tensor sample_lms(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                  const LmsOptions& options, NoiseSource&, const Observer& observer) {
  x = as_state(x);
  std::deque<Slope> past;  // the latest first
  for (int i = 0; i < trajectory.steps(); ++i) {
    const double from = trajectory.levels[i].sigma, to = trajectory.landing(i).sigma;
    const Prediction p = denoise(x, trajectory.levels[i]);
    past.push_front({slope(x, p, from), from});
    if (static_cast<int>(past.size()) > options.order) past.pop_back();
    std::vector<double> nodes;
    for (const auto& entry : past) nodes.push_back(entry.sigma);
    if (options.strict) add_left_out(nodes, trajectory, options.order);
    Combination next = x;
    for (size_t k = 0; k < past.size(); ++k)
      next.add(past[k].d, lagrange_integral(nodes, k, from, to));
    x = next;
    report(observer, trajectory, i, x, p);
  }
  return x;
}

Sampler lms_sampler() {
  return {.name = "lms",
          .description = "Linear multistep (Adams-Bashforth) on the sigmas, one evaluation a step",
          .paper = "2206.00364",
          .scheduler = "LMSDiscreteScheduler",
          .options = {{"order", "4", "1 to 4: how many steps' slopes a step uses"}, shift_option()},
          .trajectory = ode_trajectory,
          .run = [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                    const Options& options, NoiseSource& noise, const Observer& observer) {
            const LmsOptions lms{bounded_integer(options, "order", 1, 4), options.flag("strict")};
            return sample_lms(denoise, std::move(x), trajectory, lms, noise, observer);
          }};
}

}  // namespace tiller
