#include <cmath>
#include <optional>

#include "samplers/ancestral.h"
#include "samplers/ode.h"
#include "samplers/registry.h"
#include "samplers/step.h"

namespace tiller {
namespace {

/// What a step leaves for the next one.
struct ResHistory {
  Tensor sample;
  double down;  ///< The sigma that it went down to.
};

/// The weight of the change of the estimate over a step of h in -log sigma, `c2` steps from the
/// estimate before to this one: h phi_2(-h) / c2.
double res_weight(double h, double c2) {
  const double phi_1 = -std::expm1(-h) / h;
  return (1 - phi_1) / c2;
}

}  // namespace

Tensor sample_res_multistep(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                            const AncestralOptions& options, NoiseSource& noise,
                            const Observer& observer) {
  x = as_state(x);
  std::optional<ResHistory> before;
  for (int i = 0; i < trajectory.steps(); ++i) {
    const double from = trajectory.levels[i].sigma, to = trajectory.landing(i).sigma;
    const auto [down, up] = ancestral_step(from, to, options.eta);
    const Prediction p = denoise(x, trajectory.levels[i]);
    Combination next = p.sample + (down / from) * (x - p.sample);
    const double h = std::log(from / down);
    if (before && down > 0 && h > 0) {
      const double c2 = std::log(before->down / trajectory.levels[i - 1].sigma) / h;
      const double weight = res_weight(h, c2);
      if (std::isfinite(weight)) next = next + weight * (before->sample - p.sample);
    }
    if (up > 0) next.add(noise.draw(x), up * options.s_noise);
    before = {p.sample, down};
    x = next;
    report(observer, trajectory, i, x, p);
  }
  return x;
}

namespace {

Tensor run_res_multistep(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                         const Options& options, NoiseSource& noise, const Observer& observer) {
  return sample_res_multistep(denoise, std::move(x), trajectory, ancestral_from(options), noise,
                              observer);
}

std::vector<Option> res_options(const std::string& eta) {
  return {{"eta", eta, "share of the noise, 0: none"}, {"s_noise", "1", "scale of the noise"}};
}

}  // namespace

Sampler res_multistep_sampler() {
  return {.name = "res-multistep",
          .description = "RES: exponential multistep of second order, one evaluation a step",
          .paper = "2308.02157",
          .options = res_options("0"),
          .trajectory = sigma_trajectory,
          .run = run_res_multistep};
}

Sampler res_multistep_a_sampler() {
  Sampler sampler = res_multistep_sampler();
  sampler.name = "res-multistep-a";
  sampler.description = "res-multistep to below the next level, and noise up to it";
  sampler.options = res_options("1");
  return sampler;
}

}  // namespace tiller
