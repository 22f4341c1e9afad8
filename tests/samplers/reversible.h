#pragma once
#include "io/error.h"
#include "samplers/defaults.h"
#include "samplers/inversion.h"
#include "tests/samplers/toy.h"

namespace tiller::test {

/// A run in both directions on the toy network.
struct Reversible {
  Configured chosen;
  Trajectory trajectory;
  Denoiser denoise;
  InversionSteering steering = {};
  uint64_t first_seed = 0;  ///< Of the rows' noise.
  mutable int evaluations = 0;

  Reversible(const std::string& sampler, const std::string& options, const NoiseSchedule& schedule,
             int steps, PredictionType type = PredictionType::epsilon)
      : chosen(sampler, options) {
    TrajectoryConfig config = default_trajectory_config(schedule);
    config.steps = steps;
    trajectory = chosen.sampler.trajectory(schedule, with_options(config, chosen.options));
    denoise = [this, toy = toy_denoiser(type)](const Tensor& x, const NoiseLevel& level) {
      ++evaluations;
      return toy(x, level);
    };
  }

  Reversible(const Reversible&) = delete;

  InversionRun run(const Observer& observer = {}, NoiseSource* noise = nullptr) const {
    return {denoise, trajectory, chosen.options, steering, observer, noise};
  }
  InversionState ascend(InversionState state, int until = 0) const {
    SeededNoise noise(image_seeds(first_seed, state.latents.size(0)));
    return chosen.sampler.inverse.ascend(run({}, &noise), std::move(state), until);
  }
  InversionState ascend(const Tensor& x, int until = 0) const {
    return ascend(InversionState{.level = trajectory.steps(), .latents = x}, until);
  }
  InversionState descend(InversionState state) const {
    SeededNoise noise(image_seeds(first_seed, state.latents.size(0)));
    return chosen.sampler.inverse.descend(run({}, &noise), std::move(state));
  }
};

inline Tensor images(uint64_t seed, at::IntArrayRef shape) {
  SeededNoise noise(image_seeds(seed, shape[0]));
  return initial_noise(noise, shape).clamp(-1, 1);
}

}  // namespace tiller::test
