#include "samplers/defaults.h"

namespace tiller {

TrajectoryConfig default_trajectory_config(const NoiseSchedule& schedule) {
  TrajectoryConfig config;
  const bool pure_noise = !schedule.flow && schedule.alphas_cumprod.back() == 0;
  if (pure_noise) config.spacing = Spacing::trailing;
  if (!schedule.cosine || pure_noise) return config;
  config.spacing = Spacing::leading;
  config.sigma_max = 80;
  return config;
}

std::string usual_sampler(const Model& model) {
  return model.prediction == PredictionType::edm ? "heun" : "ddim";
}

std::vector<Option> usual_options(const Model& model, const Sampler& sampler) {
  std::vector<Option> options = sampler.options;
  for (Option& option : options) {
    if (option.name == "pfgmpp" && model.augmented > 0)
      option.value = std::to_string(model.augmented);
    if (option.name == "variance" && model.large_variance) option.value = "fixed_large";
  }
  return options;
}

NoiseSchedule schedule_of(const Model& model) {
  if (model.prediction == PredictionType::edm) {
    auto schedule = edm_schedule(model.diffusion_steps, model.sigma_min, model.sigma_max);
    schedule.known_sigmas = model.known_sigmas;
    return schedule;
  }
  if (is_flow(model.prediction))
    return flow_schedule(model.prediction, model.diffusion_steps, model.flow_shift);
  return guided_diffusion_schedule(model.noise_schedule, model.diffusion_steps,
                                   model.rescale_timesteps, model.zero_terminal_snr);
}

}  // namespace tiller
