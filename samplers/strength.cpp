#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "io/error.h"
#include "samplers/trajectory.h"

namespace tiller {

namespace {

std::string short_text(double number) {
  std::ostringstream text;
  text << number;
  return text.str();
}

}  // namespace

int skipped_by(const Trajectory& trajectory, double strength) {
  const int steps = trajectory.steps();
  if (!(strength > 0 && strength <= 1))
    throw UsageError("--strength: got " + short_text(strength) +
                     ", expected a number above 0 and at most 1.");
  const int kept = std::min(static_cast<int>(steps * strength), steps);
  if (kept < 1)
    throw UsageError("--strength: got " + short_text(strength) + ", which leaves none of " +
                     std::to_string(steps) + " steps, expected at least " +
                     short_text(1.0 / steps) + ". Raise it, or ask for more steps.");
  return steps - kept;
}

Trajectory without_first(Trajectory trajectory, int skipped) {
  if (skipped == 0) return trajectory;
  const NoiseLevel& first = trajectory.levels.front();
  trajectory.highest_sigma = std::max(trajectory.highest_sigma, first.sigma / first.alpha);
  const auto begin = trajectory.levels.begin();
  trajectory.left_out.assign(begin, begin + skipped);
  trajectory.levels.erase(begin, begin + skipped);
  for (auto& level : trajectory.levels) level.step -= skipped;
  if (!trajectory.landings.empty())
    trajectory.landings.erase(trajectory.landings.begin(), trajectory.landings.begin() + skipped);
  trajectory.skipped_steps += skipped;
  trajectory.initial_scale = std::hypot(trajectory.levels[0].alpha, trajectory.levels[0].sigma);
  return trajectory;
}

Trajectory from_strength(Trajectory trajectory, double strength) {
  const int skipped = skipped_by(trajectory, strength);
  return without_first(std::move(trajectory), skipped);
}

Tensor noised(const Tensor& sample, const Tensor& noise, const NoiseLevel& level) {
  return level.alpha * sample + level.sigma * noise;
}

void require_signal(const Trajectory& trajectory, PredictionType prediction) {
  if (prediction != PredictionType::epsilon || trajectory.levels.front().alpha > 0) return;
  throw Error(
      "rescale_betas_zero_snr: got true for a model that predicts epsilon, expected v or sample "
      "prediction: the first timestep is pure noise. Use spacing=leading, or correct "
      "prediction_type.");
}

}  // namespace tiller
