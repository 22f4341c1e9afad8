#include <algorithm>
#include <cmath>
#include <deque>

#include "io/error.h"
#include "samplers/log_snr.h"
#include "samplers/registry.h"
#include "samplers/step.h"

namespace tiller {
namespace {

/// p times the integral of exp(p v) v^j over v from -h to 0, for j below `count`.
std::vector<double> exponential_moments(double p, double h, size_t count) {
  std::vector<double> moments = {-std::expm1(-p * h)};
  for (size_t j = 1; j < count; ++j)
    moments.push_back(-std::exp(-p * h) * std::pow(-h, double(j)) - double(j) / p * moments[j - 1]);
  return moments;
}

/// The coefficients, lowest first, of the polynomial that is 1 at nodes[k] and 0 at the others.
std::vector<double> lagrange_coefficients(const std::vector<double>& nodes, size_t k) {
  std::vector<double> polynomial = {1};
  for (size_t j = 0; j < nodes.size(); ++j) {
    if (j == k) continue;
    const double scale = nodes[k] - nodes[j];
    polynomial.push_back(0);
    for (size_t d = polynomial.size(); d-- > 0;)
      polynomial[d] = ((d > 0 ? polynomial[d - 1] : 0) - nodes[j] * polynomial[d]) / scale;
  }
  return polynomial;
}

/// One step of either kind: by estimates, the latest first, the corrector's at its end.
struct SaStep {
  const NoiseLevel &from, &to;
  double tau;

  double h() const { return log_snr(to) - log_snr(from); }

  /// What each of the estimates counts, in units of alpha.
  std::vector<double> weights(const std::deque<Estimate>& estimates, int order) const {
    const double power = 1 + tau * tau, h = this->h();
    std::vector<double> nodes, result;
    for (int k = 0; k < order; ++k) nodes.push_back(estimates[k].lambda - log_snr(to));
    const auto moments = exponential_moments(power, h, nodes.size());
    for (size_t k = 0; k < nodes.size(); ++k) {
      const auto coefficients = lagrange_coefficients(nodes, k);
      result.push_back(0);
      for (size_t j = 0; j < nodes.size(); ++j) result[k] += coefficients[j] * moments[j];
    }
    if (order != 2) return result;
    // Of third order in h; the authors' code has it for runs of few steps.
    const double exact = (power * h + std::expm1(-power * h)) / (power * power);
    const double moved = power * (h * h / 2 - exact) / (nodes[0] - nodes[1]);
    return {result[0] + moved, result[1] - moved};
  }

  Tensor taken(const Tensor& x, const Tensor& noise, const std::deque<Estimate>& estimates,
               int order) const {
    const double variance = tau * tau * h();
    Combination next = (to.sigma / from.sigma * std::exp(-variance)) * Combination(x);
    const auto weight = weights(estimates, order);
    for (int k = 0; k < order; ++k) next.add(estimates[k].sample, to.alpha * weight[k]);
    return next.add(noise, to.sigma * std::sqrt(std::max(0.0, -std::expm1(-2 * variance))));
  }
};

double tau_at(const NoiseLevel& level, const SaOptions& options) {
  const bool within = options.tau_low <= level.timestep && level.timestep <= options.tau_high;
  return within ? options.tau : 0;
}

int limited_order(int order, int from_here, const SaOptions& options) {
  return options.lower_order_final ? std::min(order, from_here) : order;
}

}  // namespace

Tensor sample_sa(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                 const SaOptions& options, NoiseSource& noise, const Observer& observer) {
  x = as_state(x);
  std::deque<Estimate> past;  // the latest first
  Tensor before, drawn;       // where the last step began, and its noise
  for (int i = 0; i < trajectory.steps(); ++i) {
    const NoiseLevel &from = trajectory.levels[i], &to = trajectory.landing(i);
    const int left = trajectory.steps() - i;
    const Prediction p = denoise(x, from);
    past.push_front({p.sample, log_snr(from)});
    if (i > 0) {
      const NoiseLevel& last = trajectory.levels[i - 1];
      const int order = std::min(limited_order(options.corrector_order, left + 2, options), i + 1);
      x = SaStep{last, from, tau_at(last, options)}.taken(before, drawn, past, order);
    }
    if (static_cast<int>(past.size()) > std::max(options.order, options.corrector_order - 1))
      past.pop_back();
    before = x;
    drawn = noise.draw(x);
    const int order = std::min(limited_order(options.order, left, options), i + 1);
    x = to.sigma > 0 ? SaStep{from, to, tau_at(from, options)}.taken(x, drawn, past, order)
                     : Tensor(p.sample);
    report(observer, trajectory, i, x, p);
  }
  return x;
}

namespace {

Trajectory sa_trajectory(const NoiseSchedule& schedule, const TrajectoryConfig& config) {
  if (schedule.edm)
    throw UsageError(
        "sampler: got sa-solver, whose noise goes by timesteps, for a network that is told none, "
        "expected another, such as dpm++2m-sde.");
  return rounded_trajectory(schedule, config);
}

}  // namespace

Sampler sa_solver_sampler() {
  return {.name = "sa-solver",
          .description =
              "SA-Solver: stochastic multistep predictor and corrector, one evaluation a step",
          .paper = "2309.05019",
          .scheduler = "SASolverScheduler",
          .options = {{"order", "2", "1 to 4: of the predictor"},
                      {"corrector_order", "2", "1 to 4"},
                      {"lower_order_final", "true", "lower order in the last steps"},
                      {"tau", "1", "how much noise, 0: none"},
                      {"tau_low", "200", "no noise at timesteps below"},
                      {"tau_high", "800", "no noise at timesteps above"},
                      {"lambda_min_clipped", "", "no timesteps of a smaller log SNR"},
                      {"final", "sigma_min", "zero or sigma_min: where the sigmas end"}},
          .trajectory = sa_trajectory,
          .run = [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                    const Options& options, NoiseSource& noise, const Observer& observer) {
            const SaOptions sa{bounded_integer(options, "order", 1, 4),
                               bounded_integer(options, "corrector_order", 1, 4),
                               options.flag("lower_order_final"),
                               options.number("tau", 0, 10),
                               options.number("tau_low"),
                               options.number("tau_high")};
            return sample_sa(denoise, std::move(x), trajectory, sa, noise, observer);
          }};
}

}  // namespace tiller
