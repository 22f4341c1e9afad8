#include "io/error.h"
#include "samplers/registry.h"
#include "samplers/walk.h"

namespace tiller {
namespace {

/// Of one step: guesses 0 to `last`, of which those from `first` on are averaged.
struct Averaging {
  int last, first;
};

struct ReNoise {
  Averaging usual, early;
  double early_below;  ///< Timesteps that count as early.
};

Averaging read_averaging(const Options& options, const std::string& prefix) {
  const int last = bounded_integer(options, prefix + "iterations", 0, 1000);
  return {last, bounded_integer(options, prefix + "average_from", 0, last)};
}

ReNoise read(const Options& options) {
  return {read_averaging(options, ""), read_averaging(options, "early_"),
          options.number("early", 0, 1e6)};
}

/// arXiv 2403.14602, algorithm 1, without its regularization of epsilon. An average of the steps
/// back is the step back with the average epsilon.
Stepped renoised(const InversionRun& run, const Tensor& latents, int level, const ReNoise& how) {
  const bool early = run.trajectory.levels[level - 1].timestep < how.early_below;
  const Averaging& averaging = early ? how.early : how.usual;
  Stepped guess = ddim_up(run.denoise, run.trajectory, latents, level);
  Tensor sum;
  for (int i = 0;; ++i) {
    if (i >= averaging.first) sum = sum.defined() ? sum + guess.latents : guess.latents;
    if (i == averaging.last) break;
    guess = ddim_corrected(run, guess.latents, latents, level);
  }
  return {sum / (averaging.last - averaging.first + 1), guess.prediction};
}

InversionState ascend(const InversionRun& run, InversionState state, int until) {
  const ReNoise how = read(run.options);
  return walk_up(run, state, until, [&](const Tensor& latents, int level) {
    return renoised(run, latents, level, how);
  });
}

}  // namespace

Sampler renoise_sampler() {
  return {
      .name = "renoise",
      .description = "DDIM, inverted by noising each step anew and averaging (ReNoise)",
      .paper = "2403.14602",
      .scheduler = "DDIMScheduler",
      .options = {{"iterations", "9", "renoising iterations a step, one evaluation more"},
                  {"average_from", "8", "the first of them that the average takes, to the last"},
                  {"early", "250", "below this timestep the early_ options count instead"},
                  {"early_iterations", "5", "as iterations"},
                  {"early_average_from", "0", "as average_from"},
                  {"set_alpha_to_one", "", "end at x_0, not at the cleanest timestep"}},
      .trajectory = table_trajectory,
      .renoises = true,
      .run = generate_with_ddim_after<read>,
      .inverse = {.ascend = ascend, .descend = ddim_descend}};
}

}  // namespace tiller
