#include "samplers/defaults.h"

namespace tiller {

TrajectoryConfig default_trajectory_config(const NoiseSchedule& schedule) {
  TrajectoryConfig config;
  if (!schedule.cosine) return config;
  config.spacing = Spacing::leading;
  config.sigma_max = 80;
  return config;
}

NoiseSchedule schedule_of(const Model& model) {
  if (is_flow(model.prediction))
    return flow_schedule(model.prediction, model.diffusion_steps, model.flow_shift);
  return guided_diffusion_schedule(model.noise_schedule, model.diffusion_steps,
                                   model.rescale_timesteps);
}

}  // namespace tiller
