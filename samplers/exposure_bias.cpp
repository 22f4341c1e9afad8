#include "samplers/exposure_bias.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "io/error.h"

namespace tiller {

Denoiser epsilon_scaled(Denoiser denoise, const EpsilonScaling& scaling, int steps) {
  return [denoise = std::move(denoise), scaling, steps](const Tensor& x, const NoiseLevel& level) {
    Prediction p = denoise(x, level);
    const int t = std::max(0, steps - 1 - level.step);
    const double lambda = scaling.slope * t + scaling.base;
    p.epsilon = p.epsilon / lambda;
    if (p.renoise.defined()) p.renoise = p.renoise / lambda;
    p.sample = (x - level.sigma * p.epsilon) / level.alpha;
    return p;
  };
}

Tensor timesteps_by_variance(const Tensor& x, double t, int window, const NoiseSchedule& schedule) {
  const auto last = static_cast<double>(schedule.size() - 1), half = std::floor(window / 2.0);
  const auto low = static_cast<int64_t>(std::clamp(t - half, 0.0, last));
  const auto high = static_cast<int64_t>(std::clamp(t + half, 0.0, last));
  std::vector<double> noise;
  for (int64_t k = low; k <= high; ++k) noise.push_back(1 - schedule.alphas_cumprod[k]);
  const Tensor candidates = at::tensor(noise, at::kDouble).to(x.device());
  const Tensor variances = x.to(at::kDouble).flatten(1).var(1, true, true);
  return (variances - candidates).square().argmin(1).to(at::kDouble) + double(low);
}

Denoiser time_shifted(Denoiser denoise, const TimeShift& shift, const NoiseSchedule& schedule) {
  return [denoise = std::move(denoise), shift, schedule](const Tensor& x, const NoiseLevel& level) {
    const double t = std::nearbyint(schedule.table_timestep(level.timestep));
    if (level.step == 0 || t <= shift.cutoff) return denoise(x, level);
    const Tensor preserving = x * input_scale(level, PredictionType::epsilon);
    NoiseLevel shifted = level;
    shifted.timesteps =
        timesteps_by_variance(preserving, t, shift.window, schedule) * schedule.network_timestep(1);
    return denoise(x, shifted);
  };
}

namespace {

EpsilonScaling scaling_from(const Options& options, int steps) {
  const EpsilonScaling scaling{options.number("epsilon_scaling", 0.01, 100),
                               options.number("epsilon_scaling_slope", -1, 1)};
  if (scaling.base + scaling.slope * (steps - 1) < 0.01)
    throw UsageError("epsilon_scaling_slope: got " + options.text("epsilon_scaling_slope") +
                     ", which leads below 0 over " + std::to_string(steps) +
                     " steps, expected more.");
  return scaling;
}

void require_scalable(const Trajectory& trajectory, PredictionType prediction) {
  if (is_flow(prediction) || trajectory.levels.front().alpha == 0)
    throw UsageError(
        "epsilon_scaling: got one for a run that begins with pure noise, expected 1: an epsilon "
        "says nothing of the image there.");
}

TimeShift shift_from(const Options& options, PredictionType prediction) {
  if (prediction != PredictionType::epsilon)
    throw UsageError("time_shift: got a model of " + prediction_type_name(prediction) +
                     " prediction, expected one that predicts epsilon: others' answers depend on "
                     "the time that they are told.");
  if (!options.has("time_shift_cutoff"))
    throw UsageError(
        "time_shift_cutoff: got none, expected the timestep from which on images "
        "count for more than noise, such as 300.");
  return {static_cast<int>(options.integer("time_shift")), options.number("time_shift_cutoff", 0)};
}

bool is_set(const Options& options, const std::string& name, const std::string& off) {
  return options.has(name) && options.text(name) != off;
}

}  // namespace

Denoiser unbiased(Denoiser denoise, const Options& options, const Trajectory& trajectory,
                  const NoiseSchedule& schedule, PredictionType prediction) {
  if (is_set(options, "time_shift", "0")) {
    if (options.integer("time_shift") < 0)
      throw UsageError("time_shift: got " + options.text("time_shift") +
                       ", expected a window of timesteps, such as 40.");
    denoise = time_shifted(std::move(denoise), shift_from(options, prediction), schedule);
  }
  if (is_set(options, "epsilon_scaling", "1") || is_set(options, "epsilon_scaling_slope", "0")) {
    require_scalable(trajectory, prediction);
    const int steps = trajectory.steps();
    denoise = epsilon_scaled(std::move(denoise), scaling_from(options, steps), steps);
  }
  return denoise;
}

}  // namespace tiller
