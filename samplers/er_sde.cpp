#include <cmath>
#include <deque>

#include "samplers/registry.h"
#include "samplers/step.h"

namespace tiller {
namespace {

double noise_scale(double lambda) { return lambda * (std::exp(std::pow(lambda, 0.3)) + 10); }

/// What the derivatives of the estimate in lambda are weighed with, from one lambda to another: the
/// integrals over 1 / phi as its authors sum them, over ComfyUI's 200 points.
struct TaylorWeights {
  double first, second;
};

TaylorWeights taylor_weights(double from, double to) {
  constexpr int kPoints = 200;
  const double stride = (from - to) / kPoints, change = to - from;
  double inverse = 0, moment = 0;
  for (int k = 0; k < kPoints; ++k) {
    const double lambda = to + k * stride, scaled = stride / noise_scale(lambda);
    inverse += scaled;
    moment += (lambda - from) * scaled;
  }
  const double scale = noise_scale(to);
  return {change + inverse * scale, change * change / 2 + moment * scale};
}

/// The latest first.
struct ErSdeHistory {
  std::deque<Tensor> samples, slopes;
  std::deque<double> lambdas;
};

/// Takes the estimate at `lambda` in, and says its slope and the slope's slope where there are any.
std::vector<Tensor> derivatives(ErSdeHistory& past, const Tensor& sample, double lambda) {
  std::vector<Tensor> found;
  if (!past.samples.empty())
    found.push_back((sample - past.samples[0]) / (lambda - past.lambdas[0]));
  if (!past.slopes.empty())
    found.push_back((found[0] - past.slopes[0]) / ((lambda - past.lambdas[1]) / 2));
  past.samples = {sample};
  if (!found.empty()) past.slopes = {found[0]};
  past.lambdas.push_front(lambda);
  return found;
}

double lambda_of(const NoiseLevel& level) { return level.sigma / level.alpha; }

}  // namespace

Tensor sample_er_sde(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                     const ErSdeOptions& options, NoiseSource& noise, const Observer& observer) {
  x = as_state(x);
  ErSdeHistory past;
  for (int i = 0; i < trajectory.steps(); ++i) {
    const NoiseLevel &from = trajectory.levels[i], &to = trajectory.landing(i);
    const Prediction p = denoise(x, from);
    Combination next = p.sample;
    if (to.sigma > 0) {
      const double lambda = lambda_of(from), lambda_to = lambda_of(to);
      const double kept = noise_scale(lambda_to) / noise_scale(lambda);
      const auto [first, second] = taylor_weights(lambda, lambda_to);
      const std::vector<Tensor> slopes = derivatives(past, p.sample, lambda);
      next = (to.alpha / from.alpha * kept) * Combination(x) + to.alpha * (1 - kept) * p.sample;
      if (options.order > 1 && !slopes.empty()) next.add(slopes[0], to.alpha * first);
      if (options.order > 2 && slopes.size() > 1) next.add(slopes[1], to.alpha * second);
      const double added = lambda_to * lambda_to - lambda * lambda * kept * kept;
      next.add(noise.draw(x), to.alpha * options.s_noise * std::sqrt(std::max(0.0, added)));
    }
    x = next;
    report(observer, trajectory, i, x, p);
  }
  return x;
}

Sampler er_sde_sampler() {
  return {
      .name = "er-sde",
      .description = "ER-SDE-Solver: stochastic multistep of third order, one evaluation a step",
      .paper = "2309.06169",
      .options = {{"order", "3", "1 to 3: how many steps' estimates a step uses"},
                  {"s_noise", "1", "scale of the noise"}},
      .trajectory = sigma_trajectory,
      .run = [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                const Options& options, NoiseSource& noise, const Observer& observer) {
        const ErSdeOptions er{bounded_integer(options, "order", 1, 3),
                              options.number("s_noise", 0)};
        return sample_er_sde(denoise, std::move(x), trajectory, er, noise, observer);
      }};
}

}  // namespace tiller
