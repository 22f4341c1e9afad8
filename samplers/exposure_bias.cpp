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

namespace {

/// abar at timesteps of the table, (B) in float64, as (B, 1, 1, 1).
Tensor alphas_cumprod_at(const Tensor& timesteps, const NoiseSchedule& schedule) {
  const Tensor table = at::tensor(schedule.alphas_cumprod, at::kDouble).to(timesteps.device());
  return table.index_select(0, timesteps.to(at::kLong)).reshape({-1, 1, 1, 1});
}

/// Epsilon as a network's answer gives it where abar is another than that of the level (alpha,
/// sigma) for which it was read. x: of a variance preserving level.
Tensor reread_epsilon(const Tensor& epsilon, const Tensor& x, double alpha, double sigma,
                      const Tensor& abar, PredictionType type) {
  if (type == PredictionType::epsilon) return epsilon;
  const Tensor own_alpha = abar.sqrt().to(x.scalar_type()),
               own_sigma = (1 - abar).sqrt().to(x.scalar_type());
  if (type == PredictionType::sample)
    return (x - own_alpha * (x - sigma * epsilon) / alpha) / own_sigma;
  const Tensor v = (epsilon - sigma * x) / alpha;
  return own_alpha * v + own_sigma * x;
}

}  // namespace

Denoiser time_shifted(Denoiser denoise, const TimeShift& shift, const NoiseSchedule& schedule,
                      PredictionType type) {
  return [denoise = std::move(denoise), shift, schedule, type](const Tensor& x,
                                                               const NoiseLevel& level) {
    const double t = std::nearbyint(schedule.table_timestep(level.timestep));
    if (level.step == 0 || t <= shift.cutoff) return denoise(x, level);
    const double scale = input_scale(level, type);
    const Tensor seen = x * scale, chosen = timesteps_by_variance(seen, t, shift.window, schedule);
    NoiseLevel shifted = level;
    shifted.timesteps = chosen * schedule.network_timestep(1);
    Prediction p = denoise(x, shifted);
    const Tensor abar = alphas_cumprod_at(chosen, schedule);
    const auto reread = [&](const Tensor& epsilon) {
      return reread_epsilon(epsilon, seen, level.alpha * scale, level.sigma * scale, abar, type);
    };
    p.epsilon = reread(p.epsilon);
    if (p.renoise.defined()) p.renoise = reread(p.renoise);
    p.sample = (x - level.sigma * p.epsilon) / level.alpha;
    return p;
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
  if (is_flow(prediction) || prediction == PredictionType::edm)
    throw UsageError(
        "time_shift: got a flow or EDM model, expected a model of a variance preserving schedule.");
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
    denoise =
        time_shifted(std::move(denoise), shift_from(options, prediction), schedule, prediction);
  } else if (options.has("time_shift_cutoff")) {
    throw UsageError("time_shift_cutoff: got " + options.text("time_shift_cutoff") +
                     " without time_shift, expected both, such as time_shift=40.");
  }
  if (is_set(options, "epsilon_scaling", "1") || is_set(options, "epsilon_scaling_slope", "0")) {
    require_scalable(trajectory, prediction);
    const int steps = trajectory.steps();
    denoise = epsilon_scaled(std::move(denoise), scaling_from(options, steps), steps);
  }
  return denoise;
}

}  // namespace tiller
