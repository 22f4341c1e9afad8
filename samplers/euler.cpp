#include "samplers/ode.h"
#include "samplers/registry.h"

namespace tiller {

Tensor sample_euler(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                    const Churn& churn, NoiseSource& noise, const Observer& observer) {
  require_churnable(trajectory, churn);
  x = as_state(x);
  for (int i = 0; i < trajectory.steps(); ++i) {
    const NoiseLevel& from = trajectory.levels[i];
    const NoiseLevel hat = churned(trajectory, i, churn);
    const Tensor before = x;
    x = raise_noise(x, from, hat, churn, noise);
    Prediction p = churn.strict ? denoise(before, from) : denoise(x, hat);
    if (churn.strict) p.sample = x - hat.sigma * slope(before, p, from.sigma);
    x = euler_step(x, p, hat.sigma, trajectory.landing(i));
    report(observer, trajectory, i, x, p);
  }
  return x;
}

Sampler euler_sampler() {
  return {.name = "euler",
          .description = "Euler's method on the probability flow ODE, with optional churn",
          .paper = "2206.00364",
          .scheduler = "EulerDiscreteScheduler",
          .options = euler_options(),
          .trajectory = euler_trajectory,
          .renoises = true,
          .run =
              [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                 const Options& options, NoiseSource& noise, const Observer& observer) {
                return sample_euler(denoise, with_prior(x, trajectory, options, noise), trajectory,
                                    churn_from(options), noise, observer);
              },
          .step = [](const Tensor& x, const Prediction& p, const Trajectory& trajectory, int i,
                     const Options&, NoiseSource&) -> Tensor {
            return euler_step(x, p, trajectory.levels[i].sigma, trajectory.landing(i));
          }};
}

}  // namespace tiller
