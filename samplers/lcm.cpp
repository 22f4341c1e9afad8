#include <cmath>

#include "samplers/registry.h"
#include "samplers/step.h"

namespace tiller {
namespace {

/// The consistency function's weights, which are 0 and 1 at timestep 0 (arXiv 2310.04378, C.2).
struct Boundary {
  double skip, out;
};

Boundary boundary(double timestep, double scaling) {
  constexpr double data = 0.5;
  const double t = timestep * scaling, norm = t * t + data * data;
  return {data * data / norm, t / std::sqrt(norm)};
}

Tensor lcm_step(const Tensor& x, const Prediction& p, const Trajectory& trajectory, int i,
                const LcmOptions& options, NoiseSource& noise) {
  const NoiseLevel &from = trajectory.levels[i], &to = trajectory.landing(i);
  const auto [skip, out] = boundary(from.timestep, options.timestep_scaling);
  const Combination denoised = out * p.sample + skip * Combination(x);
  const bool last = i + 1 == trajectory.steps();
  return last ? denoised : to.alpha * denoised + to.sigma * Combination(noise.draw(x));
}

LcmOptions lcm_options(const Options& options) {
  return {options.number("timestep_scaling", 1e-6)};
}

}  // namespace

Tensor sample_lcm(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                  const LcmOptions& options, NoiseSource& noise, const Observer& observer) {
  x = as_state(x);
  for (int i = 0; i < trajectory.steps(); ++i) {
    const Prediction p = denoise(x, trajectory.levels[i]);
    x = lcm_step(x, p, trajectory, i, options, noise);
    report(observer, trajectory, i, x, p);
  }
  return x;
}

Sampler lcm_sampler() {
  return {.name = "lcm",
          .description = "Latent consistency models: 1 to 8 steps, with fresh noise between them",
          .paper = "2310.04378",
          .scheduler = "LCMScheduler",
          .options = {{"original_steps", "50", "the timesteps that the model was distilled on"},
                      {"timestep_scaling", "10", "scale of the consistency function's boundary"}},
          .trajectory = consistency_trajectory,
          .run =
              [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                 const Options& options, NoiseSource& noise, const Observer& observer) {
                return sample_lcm(denoise, std::move(x), trajectory, lcm_options(options), noise,
                                  observer);
              },
          .step =
              [](const Tensor& x, const Prediction& p, const Trajectory& trajectory, int i,
                 const Options& options, NoiseSource& noise) {
                return lcm_step(x, p, trajectory, i, lcm_options(options), noise);
              }};
}

}  // namespace tiller
