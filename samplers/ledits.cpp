#include "samplers/dpmpp_multistep.h"
#include "samplers/noise_maps.h"
#include "samplers/registry.h"

namespace tiller {

Sampler dpmpp_2m_sde_sampler();

namespace {

constexpr const char* ledits_name = "ledits++";

/// arXiv 2311.16711: DPM-Solver++'s steps remember the estimate before.
NoisyStep dpm_noisy_step(const InversionRun& run) {
  eta_to_invert(run.options, 10);
  const DpmMultistepOptions dpm = dpm_options(run.options, 2);
  return {
      .mean =
          [&run, dpm, before = Tensor()](const Tensor& x, const Prediction& p, int level) mutable {
            const Tensor next = dpm_step(run.trajectory, level, dpm, x, p.sample, before);
            before = p.sample;
            return on_lattice(next);
          },
      .noise =
          [&run, dpm](int level) {
            return dpm_noise(run.trajectory.levels[level], run.trajectory.landing(level), dpm.eta);
          }};
}

InversionState ledits_ascend(const InversionRun& run, InversionState state, int until) {
  return ascend_by_noise_maps(run, state, until, dpm_noisy_step(run), ledits_name);
}

InversionState ledits_descend(const InversionRun& run, InversionState state) {
  return descend_by_noise_maps(run, state, dpm_noisy_step(run), ledits_name);
}

/// Leading timesteps unless the model or the user has others, as the authors' pipelines.
Trajectory leading_trajectory(const NoiseSchedule& schedule, const TrajectoryConfig& config) {
  TrajectoryConfig leading = config;
  if (!leading.spacing) leading.spacing = Spacing::leading;
  return open_trajectory(schedule, leading);
}

}  // namespace

Sampler ledits_sampler() {
  Sampler sampler = dpmpp_2m_sde_sampler();
  sampler.name = ledits_name;
  sampler.description =
      "SDE-DPM-Solver++(2M), inverted by drawing every level and keeping the noise of each step "
      "(LEDITS++)";
  sampler.paper = "2311.16711";
  sampler.options = dpm_option_list(2);
  sampler.options.push_back({"eta", "1", "how much noise, 0: none"});
  sampler.trajectory = leading_trajectory;
  sampler.inverse = {
      .exact = true, .draws = true, .ascend = ledits_ascend, .descend = ledits_descend};
  return sampler;
}

}  // namespace tiller
