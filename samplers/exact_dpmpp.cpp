#include <ATen/ATen.h>

#include <cmath>

#include "io/error.h"
#include "samplers/dpmpp_multistep.h"
#include "samplers/registry.h"
#include "samplers/walk.h"

namespace tiller {
namespace {

struct ExactDpm {
  DpmMultistepOptions dpm;
  int iterations, substeps, sweeps;
  double step, tolerance;
};

ExactDpm exact_options(const Options& options) {
  return {dpm_options(options, 2),
          bounded_integer(options, "iterations", 1, 10'000),
          bounded_integer(options, "substeps", 1, 1000),
          bounded_integer(options, "sweeps", 1, 100),
          options.number("step", 1e-3, 10),
          options.number("tolerance", 0, 1)};
}

/// A guess of the latents at a noisier level: DDIM's inverse in small steps, uniform in
/// log(sigma / alpha).
Tensor fine_ascent(const InversionRun& run, Tensor x, int level, const ExactDpm& how) {
  const Trajectory& trajectory = run.trajectory;
  const NoiseLevel &goal = trajectory.levels[level - 1], *from = &trajectory.levels[level];
  const NoiseLevel begin = level == trajectory.steps() ? end_level(trajectory) : *from;
  const double first = begin.sigma / begin.alpha, last = goal.sigma / goal.alpha;
  NoiseLevel at = *from;
  for (int k = 1; k <= how.substeps; ++k) {
    const double ratio = first * std::pow(last / first, double(k) / how.substeps);
    const NoiseLevel to = k == how.substeps ? goal : level_between(trajectory, ratio, goal);
    NoiseLevel asked = at.sigma > 0 ? at : begin;
    asked.timestep = to.timestep;
    asked.step = goal.step;
    const Prediction p = run.denoise(x, asked);
    const double scale = to.alpha / at.alpha;
    x = scale * Combination(x) + (to.sigma - scale * at.sigma) * p.epsilon;
    at = to;
  }
  return x;
}

/// Latents that the solver's step leads from, and the estimate of x_0 there.
struct Solution {
  Tensor latents;
  Prediction prediction;
};

/// arXiv 2311.18387's forward step method: moves the guess by what its step misses `target` by.
/// Each image halves its step where it got worse, and rests once it is near enough.
Solution solved(const InversionRun& run, const Tensor& guess, const Tensor& target, int level,
                const Tensor& sample_before, const ExactDpm& how) {
  const NoiseLevel &from = run.trajectory.levels[level], &to = run.trajectory.levels[level + 1];
  const auto per_image = [](const Tensor& x) { return x.view({-1, 1, 1, 1}); };
  Solution best{guess, {}};
  Tensor z = guess, residual, least, step;
  for (int i = 0; i < how.iterations; ++i) {
    const Prediction p = run.denoise(z, from);
    const Tensor missed =
        target - dpm_step(run.trajectory, level, how.dpm, z, p.sample, sample_before);
    const Tensor error = missed.square().flatten(1).mean(1).sqrt();
    if (i == 0) {
      best = {z, p};
      residual = missed;
      least = error;
      step = at::full_like(error, how.step);
    } else {
      const Tensor better = error < least;
      step = at::where(better, step, step / 2);
      best.latents = at::where(per_image(better), z, best.latents);
      best.prediction.sample = at::where(per_image(better), p.sample, best.prediction.sample);
      residual = at::where(per_image(better), missed, residual);
      least = at::minimum(least, error);
    }
    const Tensor open = least > how.tolerance;
    if (!open.any().item<bool>()) break;
    const Tensor moved = best.latents + per_image(step) * (from.alpha / to.alpha) * residual;
    z = at::where(per_image(open), moved, best.latents);
  }
  return best;
}

/// What is known of a run's levels so far; undefined: nothing.
struct Known {
  std::vector<Tensor> latents, samples;
};

/// Guesses what the step from `level` began with and, for second order, the estimate of x_0 one
/// level before.
void guess_ahead(const InversionRun& run, const Tensor& x, int level, bool second_order,
                 const ExactDpm& how, Known& known) {
  if (known.latents[level].defined()) return;
  if (!second_order) {
    known.latents[level] = ddim_up(run.denoise, run.trajectory, x, level + 1).latents;
    return;
  }
  known.latents[level] = fine_ascent(run, x, level + 1, how);
  const Tensor before = fine_ascent(run, known.latents[level], level, how);
  known.samples[level - 1] = run.denoise(before, run.trajectory.levels[level - 1]).sample;
}

InversionState sweep(const InversionRun& run, const InversionState& state, int until,
                     const ExactDpm& how, Known& known) {
  return walk_up(run, state, until, [&](const Tensor& x, int above) {
    const int level = above - 1;
    const bool second = level > until && dpm_order(run.trajectory, level, how.dpm) == 2;
    guess_ahead(run, x, level, second, how, known);
    const Tensor before = second ? known.samples[level - 1] : Tensor();
    const Solution solution = solved(run, known.latents[level], x, level, before, how);
    known.latents[level] = solution.latents;
    known.samples[level] = solution.prediction.sample;
    return Stepped{solution.latents, solution.prediction};
  });
}

/// The first sweep takes the estimates of x_0 before each step from DDIM, as the paper does; later
/// ones take what the sweep before found.
InversionState exact_ascend(const InversionRun& run, InversionState state, int until) {
  const ExactDpm how = exact_options(run.options);
  require_signal_at_start(run.trajectory);
  InversionRun quiet{run.denoise, run.trajectory, run.options, run.steering};
  Known known{std::vector<Tensor>(run.trajectory.levels.size()),
              std::vector<Tensor>(run.trajectory.levels.size())};
  for (int i = 1; i < how.sweeps; ++i) sweep(quiet, state, until, how, known);
  return sweep(run, state, until, how, known);
}

InversionState exact_descend(const InversionRun& run, InversionState state) {
  const ExactDpm how = exact_options(run.options);
  Tensor before;
  return walk_down(run, state, [&](const Tensor& x, int level) {
    const Prediction p = run.denoise(x, run.trajectory.levels[level]);
    const Tensor next = dpm_step(run.trajectory, level, how.dpm, x, p.sample, before);
    before = p.sample;
    return Stepped{next, p};
  });
}

Tensor generate_exact(const Denoiser& denoise, Tensor x, const Trajectory& trajectory,
                      const Options& options, NoiseSource&, const Observer& observer) {
  const InversionRun run{denoise, trajectory, options, {}, observer};
  return exact_descend(run, {.latents = std::move(x)}).latents;
}

std::vector<Option> option_list() {
  std::vector<Option> options = dpm_option_list(2);
  const std::vector<Option> own = {
      {"iterations", "50", "evaluations a step of the inversion, at most"},
      {"step", "1", "share of what is missed that an iteration moves by; the paper's is 0.5"},
      {"tolerance", "1e-4", "root mean square missed that is near enough"},
      {"substeps", "10", "of the first guess, in each step's interval"},
      {"sweeps", "2", "whole inversions; the paper's method is the first"}};
  options.insert(options.end(), own.begin(), own.end());
  return options;
}

}  // namespace

Sampler exact_dpmpp_sampler() {
  return {.name = "exact-dpm++",
          .description = "DPM-Solver++(2M), each step of which is inverted by iteration",
          .paper = "2311.18387",
          .scheduler = "DPMSolverMultistepScheduler",
          .options = option_list(),
          .trajectory = open_trajectory,
          .run = generate_exact,
          .inverse = {.ascend = exact_ascend, .descend = exact_descend}};
}

}  // namespace tiller
