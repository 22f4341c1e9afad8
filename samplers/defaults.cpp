#include "samplers/defaults.h"

namespace tiller {

TrajectoryConfig default_trajectory_config(const NoiseSchedule& schedule) {
  TrajectoryConfig config;
  if (!schedule.cosine) return config;
  config.spacing = Spacing::leading;
  config.sigma_max = 80;
  return config;
}

}  // namespace tiller
