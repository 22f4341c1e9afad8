#include "samplers/walk.h"

#include <cmath>

#include "io/error.h"
#include "samplers/lattice.h"

namespace tiller {

void require_landings_on_levels(const Trajectory& trajectory) {
  if (!trajectory.landings.empty())
    throw UsageError(
        "strict: got true, expected false for inversion: steps that land beside the timesteps have "
        "no way back.");
}

void require_signal_at_start(const Trajectory& trajectory) {
  if (trajectory.levels.front().alpha > 0) return;
  throw UsageError(
      "spacing: got timesteps that begin at pure noise (zero terminal SNR), expected some signal "
      "at the first. Use spacing=leading.");
}

void report_ascending(const InversionRun& run, int level, const Tensor& x,
                      const Prediction& prediction) {
  if (!run.observer) return;
  Tensor shown = x;
  run.observer({level, run.trajectory.steps(), run.trajectory.levels[level], shown, prediction});
}

Tensor reported_on_lattice(const InversionRun& run, int step, const NoiseLevel& level,
                           const Tensor& z, const Prediction& prediction) {
  if (!run.observer) return z;
  const Tensor before = float_latents(z);
  Tensor after = before;
  run.observer({step, run.trajectory.steps(), level, after, prediction});
  return after.is_same(before) ? z : at::where(after == before, z, to_lattice(after));
}

Tensor on_lattice(const Tensor& latents) {
  return at::isIntegralType(latents.scalar_type(), false) ? latents.to(at::kLong)
                                                          : to_lattice(latents);
}

Tensor stored_lattice(const Tensor& z, const std::string& sampler) {
  if (z.numel() && z.abs().max().item<int64_t>() > INT32_MAX)
    throw Error(sampler +
                ": got latents that aren't numbers or beyond 2^15, expected a lattice's. Take a "
                "lower guidance scale or float32.");
  return z.to(at::kInt);
}

InversionState walk_up(const InversionRun& run, const InversionState& state, int until,
                       const LevelStep& step) {
  require_landings_on_levels(run.trajectory);
  Tensor x = as_state(float_latents(state.latents));
  for (int level = state.level; level > until; --level) {
    const Stepped next = step(x, level);
    x = next.latents;
    report_ascending(run, level - 1, x, next.prediction);
  }
  return {.level = until, .latents = x};
}

InversionState walk_down(const InversionRun& run, const InversionState& state,
                         const LevelStep& step) {
  const int steps = run.trajectory.steps();
  Tensor x = as_state(float_latents(state.latents));
  for (int level = state.level; level < steps; ++level) {
    const Stepped next = step(x, level);
    x = next.latents;
    report(run.observer, run.trajectory, level, x, next.prediction);
  }
  return {.level = steps, .latents = x};
}

Stepped ddim_down(const Denoiser& denoise, const Trajectory& trajectory, const Tensor& latents,
                  int level) {
  const Prediction p = denoise(latents, trajectory.levels[level]);
  return {ddim_towards(p, trajectory.landing(level)), p};
}

Stepped ddim_up(const Denoiser& denoise, const Trajectory& trajectory, const Tensor& latents,
                int level) {
  const NoiseLevel &from = trajectory.levels[level], &to = trajectory.levels[level - 1];
  const bool end = level == trajectory.steps();
  NoiseLevel asked = end ? end_level(trajectory) : from;
  asked.timestep = to.timestep;
  asked.step = to.step;
  const Prediction p = denoise(latents, asked);
  if (!end) return {ddim_towards(p, to), p};
  const double scale = to.alpha / from.alpha;
  return {scale * Combination(latents) + (to.sigma - from.sigma * scale) * noise_of(p), p};
}

Stepped ddim_corrected(const InversionRun& run, const Tensor& guess, const Tensor& latents,
                       int level) {
  const NoiseLevel &from = run.trajectory.levels[level - 1], &to = run.trajectory.levels[level];
  const Prediction p = run.denoise(guess, from);
  return {guess + (from.alpha / to.alpha) * (latents - ddim_towards(p, to)), p};
}

InversionState ddim_descend(const InversionRun& run, InversionState state) {
  return walk_down(run, state, [&](const Tensor& x, int level) {
    return ddim_down(run.denoise, run.trajectory, x, level);
  });
}

Tensor generate_with_ddim(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                          const Options&, NoiseSource& noise, const Observer& observer) {
  return sample_ddim(denoise, std::move(x), trajectory, {}, noise, observer);
}

const Denoiser& unguided(const InversionRun& run) {
  return run.steering.conditional ? run.steering.conditional : run.denoise;
}

NoiseLevel level_between(const Trajectory& trajectory, double ratio, const NoiseLevel& like) {
  const bool preserving = std::abs(std::hypot(like.alpha, like.sigma) - 1) < 1e-9;
  const double alpha = preserving ? 1 / std::hypot(1.0, ratio) : like.alpha;
  const double timestep = trajectory.timestep_of && ratio > 0 ? trajectory.timestep_of(ratio) : 0;
  return {alpha, alpha * ratio, timestep, like.step};
}

}  // namespace tiller
