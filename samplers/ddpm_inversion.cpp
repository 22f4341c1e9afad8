#include "samplers/ddim.h"
#include "samplers/lattice.h"
#include "samplers/noise_maps.h"

namespace tiller {
namespace {

constexpr const char* ddpm_inversion_name = "ddpm-inversion";

NoisyStep ddim_noisy_step(const InversionRun& run) {
  const double eta = eta_to_invert(run.options, 1);
  const auto noise = [&run, eta](int level) {
    return ddim_noise(run.trajectory.levels[level], run.trajectory.landing(level), eta);
  };
  return {.mean =
              [&run, noise](const Tensor&, const Prediction& p, int level) {
                return lattice_sum(p.sample, run.trajectory.landing(level).alpha, noise_of(p),
                                   noise(level).kept);
              },
          .noise = [noise](int level) { return noise(level).added; }};
}

InversionState ddpm_ascend(const InversionRun& run, InversionState state, int until) {
  return ascend_by_noise_maps(run, state, until, ddim_noisy_step(run), ddpm_inversion_name);
}

InversionState ddpm_descend(const InversionRun& run, InversionState state) {
  return descend_by_noise_maps(run, state, ddim_noisy_step(run), ddpm_inversion_name);
}

}  // namespace

Sampler ddpm_inversion_sampler() {
  Sampler sampler = ddim_sampler();
  sampler.name = ddpm_inversion_name;
  sampler.description =
      "DDIM with DDPM's noise, inverted by drawing every level and keeping the noise of each step "
      "(edit-friendly)";
  sampler.paper = "2304.06140";
  sampler.options.front().value = "1";
  sampler.inverse = {.exact = true, .draws = true, .ascend = ddpm_ascend, .descend = ddpm_descend};
  return sampler;
}

}  // namespace tiller
