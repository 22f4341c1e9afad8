#include "samplers/ancestral.h"
#include "samplers/ode.h"
#include "samplers/registry.h"

namespace tiller {
namespace {

Tensor euler_ancestral_step(const Tensor& x, const Prediction& p, const Trajectory& trajectory,
                            int i, const AncestralOptions& options, NoiseSource& noise) {
  const double from = trajectory.levels[i].sigma;
  const auto [down, up] = ancestral_step(from, trajectory.landing(i).sigma, options.eta);
  const Combination below = euler_step(x, p, from, {1, down});
  return below + up * options.s_noise * Combination(noise.draw(x));
}

}  // namespace

Tensor sample_euler_ancestral(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                              const AncestralOptions& options, NoiseSource& noise,
                              const Observer& observer) {
  x = as_state(x);
  for (int i = 0; i < trajectory.steps(); ++i) {
    const Prediction p = denoise(x, trajectory.levels[i]);
    x = euler_ancestral_step(x, p, trajectory, i, options, noise);
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
          .run =
              [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                 const Options& options, NoiseSource& noise, const Observer& observer) {
                return sample_euler_ancestral(denoise, std::move(x), trajectory,
                                              ancestral_from(options), noise, observer);
              },
          .step =
              [](const Tensor& x, const Prediction& p, const Trajectory& trajectory, int i,
                 const Options& options, NoiseSource& noise) {
                return euler_ancestral_step(x, p, trajectory, i, ancestral_from(options), noise);
              }};
}

}  // namespace tiller
