#pragma once
/// A mixture of Gaussians, whose score and probability flow are known.
#include "tests/samplers/toy.h"

namespace tiller::test {

/// Of each number of a sample, independently: sum_k weight_k N(mean_k, std^2).
struct Mixture {
  std::vector<double> weights = {0.5, 0.3, 0.2}, means = {-1, 0.4, 1.5};
  double std = 0.35;

  /// E[x_0 | x] at any level.
  Tensor denoised(const Tensor& x, double alpha, double sigma) const {
    const double variance = alpha * alpha * std * std + sigma * sigma;
    const double gain = alpha * std * std / variance;
    std::vector<Tensor> logits, samples;
    for (size_t k = 0; k < means.size(); ++k) {
      const Tensor off = x - alpha * means[k];
      logits.push_back(std::log(weights[k]) - off.square() / (2 * variance));
      samples.push_back(means[k] + gain * off);
    }
    return (at::stack(logits).softmax(0) * at::stack(samples)).sum(0);
  }
  Denoiser denoiser() const {
    return [*this](const Tensor& x, const NoiseLevel& level) {
      const Tensor sample = denoised(x, level.alpha, level.sigma);
      return Prediction{sample, (x - level.alpha * sample) / level.sigma, {}, {}};
    };
  }
  /// The probability flow from one sigma to another for alpha = 1, by Runge and Kutta's method of
  /// fourth order in log sigma.
  Tensor flow(Tensor x, double from, double to, int steps = 4000) const {
    const double h = std::log(to / from) / steps;
    const auto slope = [&](const Tensor& at, double log_sigma) {
      return at - denoised(at, 1, std::exp(log_sigma));
    };
    for (int i = 0; i < steps; ++i) {
      const double t = std::log(from) + i * h;
      const Tensor a = slope(x, t), b = slope(x + h / 2 * a, t + h / 2),
                   c = slope(x + h / 2 * b, t + h / 2), d = slope(x + h * c, t + h);
      x = x + h / 6 * (a + 2 * b + 2 * c + d);
    }
    return x;
  }
  double mean() const {
    double sum = 0;
    for (size_t k = 0; k < means.size(); ++k) sum += weights[k] * means[k];
    return sum;
  }
  /// Probability of a number below x once noise of sigma is added.
  double below(double x, double sigma) const {
    double sum = 0;
    for (size_t k = 0; k < means.size(); ++k)
      sum += weights[k] * 0.5 * std::erfc((means[k] - x) / (std::hypot(std, sigma) * std::sqrt(2)));
    return sum;
  }
};

}  // namespace tiller::test
