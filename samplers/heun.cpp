#include "samplers/ode.h"
#include "samplers/registry.h"

namespace tiller {

Tensor sample_heun(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                   const Churn& churn, NoiseSource& noise, const Observer& observer) {
  require_churnable(trajectory, churn);
  x = as_state(x);
  for (int i = 0; i < trajectory.steps(); ++i) {
    const NoiseLevel hat = churned(trajectory, i, churn), to = level_within(trajectory, i);
    x = raise_noise(x, trajectory.levels[i], hat, churn, noise);
    const Prediction p = denoise(x, hat);
    x = heun_step(denoise, trajectory, observer, i, x, p, hat.sigma, to);
    report(observer, trajectory, i, x, p);
  }
  return x;
}

Sampler heun_sampler() {
  return {.name = "heun",
          .description = "Heun's second-order method, two evaluations a step, with optional churn",
          .paper = "2206.00364",
          .scheduler = "HeunDiscreteScheduler",
          .options = euler_options(),
          .trajectory = ode_trajectory,
          .run = [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                    const Options& options, NoiseSource& noise, const Observer& observer) {
            return sample_heun(denoise, with_prior(x, trajectory, options, noise), trajectory,
                               churn_from(options), noise, observer);
          }};
}

}  // namespace tiller
