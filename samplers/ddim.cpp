#include "samplers/ddim.h"

#include <cmath>

#include "io/error.h"
#include "samplers/walk.h"

namespace tiller {

DdimNoise ddim_noise(const NoiseLevel& from, const NoiseLevel& to, double eta) {
  const double shrink = from.alpha / to.alpha;
  const double added =
      eta * (to.sigma / from.sigma) * std::sqrt(std::max(0.0, 1 - shrink * shrink));
  return {added, std::sqrt(std::max(0.0, to.sigma * to.sigma - added * added))};
}

namespace {

Tensor ddim_step(const Tensor& x, const Prediction& p, const Trajectory& trajectory, int i,
                 double eta, NoiseSource& noise) {
  const NoiseLevel &from = trajectory.levels[i], &to = trajectory.landing(i);
  const auto [added, kept] = ddim_noise(from, to, eta);
  const Combination next = to.alpha * p.sample + kept * noise_of(p);
  return eta > 0 ? next + added * Combination(noise.draw(x)) : next;
}

double eta_of(const Options& options) { return options.number("eta", 0, 1); }

}  // namespace

Tensor sample_ddim(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                   const DdimOptions& options, NoiseSource& noise, const Observer& observer) {
  x = as_state(x);
  for (int i = 0; i < trajectory.steps(); ++i) {
    const Prediction p = denoise(x, trajectory.levels[i]);
    x = ddim_step(x, p, trajectory, i, options.eta, noise);
    report(observer, trajectory, i, x, p);
  }
  return x;
}

namespace {

/// Solves the probability flow the other way with the same steps; what it misses grows with their
/// size.
InversionState ddim_ascend(const InversionRun& run, InversionState state, int until) {
  if (eta_of(run.options) > 0)
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
                const DdimOptions ddim{eta_of(options)};
                return sample_ddim(denoise, std::move(x), trajectory, ddim, noise, observer);
              },
          .step =
              [](const Tensor& x, const Prediction& p, const Trajectory& trajectory, int i,
                 const Options& options, NoiseSource& noise) {
                return ddim_step(x, p, trajectory, i, eta_of(options), noise);
              },
          .inverse = {.ascend = ddim_ascend, .descend = ddim_descend}};
}

}  // namespace tiller
