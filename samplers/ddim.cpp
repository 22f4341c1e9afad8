#include <cmath>

#include "io/error.h"
#include "samplers/registry.h"
#include "samplers/walk.h"

namespace tiller {
namespace {

/// Equation 16: the noise that eta puts back at `to`, as a standard deviation.
double added_noise(const NoiseLevel& from, const NoiseLevel& to, double eta) {
  const double shrink = from.alpha / to.alpha;
  return eta * (to.sigma / from.sigma) * std::sqrt(std::max(0.0, 1 - shrink * shrink));
}

}  // namespace

Tensor sample_ddim(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                   const DdimOptions& options, NoiseSource& noise, const Observer& observer) {
  x = as_state(x);
  for (int i = 0; i < trajectory.steps(); ++i) {
    const NoiseLevel &from = trajectory.levels[i], &to = trajectory.landing(i);
    const Prediction p = denoise(x, from);
    const double added = added_noise(from, to, options.eta);
    const double kept = std::sqrt(std::max(0.0, to.sigma * to.sigma - added * added));
    x = to.alpha * p.sample + kept * noise_of(p);
    if (options.eta > 0) x = x + added * noise.draw(x);
    report(observer, trajectory, i, x, p);
  }
  return x;
}

namespace {

/// Solves the probability flow the other way with the same steps; what it misses grows with their
/// size.
InversionState ascend(const InversionRun& run, InversionState state, int until) {
  if (run.options.number("eta", 0, 1) > 0)
    throw UsageError("eta: got " + run.options.text("eta") +
                     ", expected 0 for inversion: noise drawn on the way has no inverse.");
  return walk_up(run, state, until, [&](const Tensor& x, int level) {
    return ddim_up(run.denoise, run.trajectory, x, level);
  });
}

}  // namespace

Sampler ddim_sampler() {
  return {.name = "ddim",
          .description =
              "Denoising diffusion implicit models: deterministic, or eta times DDPM's noise",
          .paper = "2010.02502",
          .scheduler = "DDIMScheduler",
          .options = {{"eta", "0", "share of DDPM's noise, 0 to 1"},
                      {"set_alpha_to_one", "", "end at x_0, not at the cleanest timestep"}},
          .trajectory = table_trajectory,
          .renoises = true,
          .run =
              [](const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                 const Options& options, NoiseSource& noise, const Observer& observer) {
                const DdimOptions ddim{options.number("eta", 0, 1)};
                return sample_ddim(denoise, std::move(x), trajectory, ddim, noise, observer);
              },
          .inverse = {.ascend = ascend, .descend = ddim_descend}};
}

}  // namespace tiller
