#include <cmath>

#include "io/error.h"
#include "samplers/registry.h"
#include "samplers/step.h"

namespace tiller {
namespace {

using Variance = DdpmOptions::Variance;

/// q(x_to | x_from, x_0), arXiv 2006.11239, equations 6 and 7, for levels any distance apart.
struct Posterior {
  double sample, x;       ///< The mean's weights.
  double variance, beta;  ///< The smallest and the largest sensible variance.
};

Posterior posterior(const NoiseLevel& from, const NoiseLevel& to) {
  const double shrink = from.alpha / to.alpha, beta = 1 - shrink * shrink;
  const double from_variance = from.sigma * from.sigma, to_variance = to.sigma * to.sigma;
  return {to.alpha * beta / from_variance, shrink * to_variance / from_variance,
          std::max(to_variance / from_variance * beta, 1e-20), beta};
}

Variance resolve(Variance wanted, const Prediction& p) {
  const bool learned = p.variance.defined();
  if (wanted == Variance::automatic)
    return learned ? Variance::learned_range : Variance::fixed_small;
  if (wanted == Variance::learned_range && !learned)
    throw UsageError(
        "variance: got learned_range, expected fixed_small or fixed_large: this model has no "
        "learned variance.");
  return wanted;
}

/// Noise of the posterior's standard deviation; arXiv 2102.09672, equation 15 where it is learned.
Combination scaled_noise(const Posterior& q, Variance kind, const Prediction& p,
                         const Tensor& unit) {
  if (kind == Variance::fixed_small) return std::sqrt(q.variance) * Combination(unit);
  if (kind == Variance::fixed_large) return std::sqrt(q.beta) * Combination(unit);
  const double smallest = std::log(q.variance), largest = std::log(q.beta);
  const Tensor fraction = (p.variance.to(unit.scalar_type()) + 1) / 2;
  return (0.5 * (smallest + (largest - smallest) * fraction)).exp() * unit;
}

bool adds_noise(const Trajectory& trajectory, int i, const DdpmOptions& options) {
  return i + 1 < trajectory.steps() || (options.strict && trajectory.levels[i].timestep > 0);
}

Tensor ddpm_step(const Tensor& x, const Prediction& p, const Trajectory& trajectory, int i,
                 const DdpmOptions& options, NoiseSource& noise) {
  const Variance kind = resolve(options.variance, p);
  const Posterior q = posterior(trajectory.levels[i], trajectory.landing(i));
  const Combination mean = q.sample * p.sample + q.x * Combination(x);
  if (!adds_noise(trajectory, i, options)) return mean;
  return mean + scaled_noise(q, kind, p, noise.draw(x));
}

}  // namespace

Tensor sample_ddpm(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                   const DdpmOptions& options, NoiseSource& noise, const Observer& observer) {
  x = as_state(x);
  for (int i = 0; i < trajectory.steps(); ++i) {
    const Prediction p = denoise(x, trajectory.levels[i]);
    x = ddpm_step(x, p, trajectory, i, options, noise);
    report(observer, trajectory, i, x, p);
  }
  return x;
}

namespace {

/// DDPM ends at x_0 whatever the model's config says for DDIM.
Trajectory ddpm_trajectory(const NoiseSchedule& schedule, const TrajectoryConfig& config) {
  TrajectoryConfig to_sample = config;
  to_sample.set_alpha_to_one = true;
  to_sample.strict = false;  // here it concerns the noise alone
  return table_trajectory(schedule, to_sample);
}

Variance variance_from(const std::string& name) {
  if (name == "fixed_small") return Variance::fixed_small;
  if (name == "fixed_large") return Variance::fixed_large;
  if (name == "learned_range") return Variance::learned_range;
  return Variance::automatic;
}

DdpmOptions ddpm_options(const Options& options) {
  const auto name =
      options.choice("variance", {"auto", "fixed_small", "fixed_large", "learned_range"});
  return {variance_from(name), options.flag("strict")};
}

}  // namespace

Sampler ddpm_sampler() {
  return {.name = "ddpm",
          .description =
              "Ancestral sampling from the posterior, with the learned variance if there is one",
          .paper = "2006.11239",
          .scheduler = "DDPMScheduler",
          .options = {{"variance", "auto", "auto, fixed_small, fixed_large or learned_range"}},
          .trajectory = ddpm_trajectory,
          .run =
              [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                 const Options& options, NoiseSource& noise, const Observer& observer) {
                return sample_ddpm(denoise, std::move(x), trajectory, ddpm_options(options), noise,
                                   observer);
              },
          .step =
              [](const Tensor& x, const Prediction& p, const Trajectory& trajectory, int i,
                 const Options& options, NoiseSource& noise) {
                return ddpm_step(x, p, trajectory, i, ddpm_options(options), noise);
              }};
}

}  // namespace tiller
