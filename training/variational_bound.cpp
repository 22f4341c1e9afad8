#include "training/variational_bound.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

namespace tiller {
namespace {

/// What q(x_{t-1} | x_t, x_0) is made of, one value a timestep.
struct Posterior {
  std::vector<double> of_x0, of_xt;  ///< The mean's coefficients.
  std::vector<double> log_variance;  ///< At t = 0, where it is zero, that of t = 1.
  std::vector<double> log_beta;
  std::vector<double> signal, noise;  ///< sqrt(abar) and sqrt(1 - abar).
};

Posterior posterior_of(const NoiseSchedule& schedule) {
  Posterior posterior;
  const auto& abar = schedule.alphas_cumprod;
  for (size_t t = 0; t < abar.size(); ++t) {
    const double before = t ? abar[t - 1] : 1, beta = 1 - abar[t] / before;
    posterior.of_x0.push_back(std::sqrt(before) * beta / (1 - abar[t]));
    posterior.of_xt.push_back(std::sqrt(1 - beta) * (1 - before) / (1 - abar[t]));
    posterior.log_variance.push_back(std::log(beta * (1 - before) / (1 - abar[t])));
    posterior.log_beta.push_back(std::log(beta));
    posterior.signal.push_back(std::sqrt(abar[t]));
    posterior.noise.push_back(std::sqrt(1 - abar[t]));
  }
  if (abar.size() > 1) posterior.log_variance[0] = posterior.log_variance[1];
  return posterior;
}

Tensor normal_divergence(const Tensor& mean, const Tensor& log_variance, const Tensor& model_mean,
                         const Tensor& model_log_variance) {
  const Tensor ratio = log_variance - model_log_variance;
  const Tensor distance = (mean - model_mean).square() * (-model_log_variance).exp();
  return 0.5 * (ratio.exp() - ratio - 1 + distance);
}

/// The normal distribution function, by the tanh that guided-diffusion uses.
Tensor normal_cdf(const Tensor& x) {
  return 0.5 * (1 + (std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x.pow(3))).tanh());
}

/// -log of the probability of an 8-bit value's bin in [-1, 1]; the outermost reach to infinity.
Tensor discretised_likelihood(const Tensor& x, const Tensor& mean, const Tensor& log_variance) {
  constexpr double half_bin = 1.0 / 255, outermost = 0.999, smallest = 1e-12;
  const Tensor centred = x - mean, narrow = (-0.5 * log_variance).exp();
  const Tensor above = normal_cdf(narrow * (centred + half_bin));
  const Tensor below = normal_cdf(narrow * (centred - half_bin));
  const auto log_of = [](const Tensor& p) { return p.clamp_min(smallest).log(); };
  return -at::where(x < -outermost, log_of(above),
                    at::where(x > outermost, log_of(1 - below), log_of(above - below)));
}

/// x_0 as the answer has it.
Tensor predicted_sample(PredictionType type, const Tensor& answer, const Tensor& x,
                        const Tensor& signal, const Tensor& noise) {
  if (type == PredictionType::sample) return answer;
  if (type == PredictionType::epsilon) return (x - noise * answer) / signal;
  return signal * x - noise * answer;
}

}  // namespace

Tensor variational_bound(const NoiseSchedule& schedule, PredictionType type, const Tensor& answer,
                         const Tensor& variance, const TrainExample& example) {
  const Posterior posterior = posterior_of(schedule);
  const auto column = [&](const std::vector<double>& values) {
    const Tensor table = at::tensor(values, at::kDouble).to(example.t.device(), at::kFloat);
    return table.index_select(0, example.t).reshape({-1, 1, 1, 1});
  };
  const Tensor of_xt = column(posterior.of_xt) * example.x;
  const Tensor lowest = column(posterior.log_variance), highest = column(posterior.log_beta);
  const Tensor share = (variance + 1) / 2;
  const Tensor log_variance = share * highest + (1 - share) * lowest;
  const Tensor sample =
      predicted_sample(type, answer, example.x, column(posterior.signal), column(posterior.noise));
  const Tensor mean = column(posterior.of_x0) * sample + of_xt;
  const Tensor true_mean = column(posterior.of_x0) * example.x0 + of_xt;
  const Tensor first = (example.t == 0).reshape({-1, 1, 1, 1});
  const Tensor nats = at::where(first, discretised_likelihood(example.x0, mean, log_variance),
                                normal_divergence(true_mean, lowest, mean, log_variance));
  return nats.flatten(1).mean(1) / std::numbers::ln2;
}

}  // namespace tiller
