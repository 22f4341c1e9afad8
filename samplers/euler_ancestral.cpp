#include "samplers/ancestral.h"
#include "samplers/ode.h"
#include "samplers/registry.h"

namespace tiller {
Tensor sample_euler_ancestral(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                              const EulerAncestralOptions& options, NoiseSource& noise,
                              const Observer& observer) {
  x = as_state(x);
  for (int i = 0; i < trajectory.steps(); ++i) {
    const NoiseLevel& from = trajectory.levels[i];
    const auto [down, up] = ancestral_step(from.sigma, trajectory.landing(i).sigma, options.eta);
    const Prediction p = denoise(x, from);
    x = euler_step(x, p, from.sigma, {1, down}) + up * options.s_noise * noise.draw(x);
    report(observer, trajectory, i, x, p);
  }
  return x;
}

Sampler euler_ancestral_sampler() {
  return {.name = "euler-a",
          .description = "Euler ancestral: steps below the next level and adds noise up to it",
          .paper = "2206.00364",
          .scheduler = "EulerAncestralDiscreteScheduler",
          .options = {{"eta", "1", "share of the noise, 0: plain Euler"},
                      {"s_noise", "1", "scale of the noise"}},
          .trajectory = sigma_trajectory,
          .renoises = true,
          .run = [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                    const Options& options, NoiseSource& noise, const Observer& observer) {
            const EulerAncestralOptions ancestral{options.number("eta", 0, 1),
                                                  options.number("s_noise", 0)};
            return sample_euler_ancestral(denoise, std::move(x), trajectory, ancestral, noise,
                                          observer);
          }};
}

}  // namespace tiller
