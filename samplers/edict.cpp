#include <ATen/ATen.h>

#include "samplers/coupled.h"
#include "samplers/registry.h"

namespace tiller {
namespace {

/// What DDIM's step adds to (alpha' / alpha) x: a function of the other latents y alone.
Tensor edict_increment(const Prediction& p, const Tensor& y, const NoiseLevel& from,
                       const NoiseLevel& to) {
  return ddim_towards(p, to) - (to.alpha / from.alpha) * Combination(y);
}

/// The latents take turns in which is stepped first, as the authors' "leapfrog" has it; where they
/// mix, x always comes first.
bool swaps(int level) { return level % 2 == 1; }

double mixing(const Options& options) { return options.number("p", 0.5, 1); }

/// arXiv 2211.12446, equation 14.
InversionState edict_descend(const InversionRun& run, InversionState state) {
  const double p = mixing(run.options);
  const auto& levels = run.trajectory.levels;
  return descend_coupled(run, state, [&](const Coupled& pair, int level) {
    const NoiseLevel &from = levels[level], &to = levels[level + 1];
    const double a = to.alpha / from.alpha;
    Tensor x = pair.x, y = pair.y;
    if (swaps(level)) std::swap(x, y);
    const Prediction first = asked(run, y, from);
    x = a * x + edict_increment(first, y, from, to);
    y = a * y + edict_increment(asked(run, x, from), x, from, to);
    if (swaps(level)) std::swap(x, y);
    x = p * x + (1 - p) * y;
    y = p * y + (1 - p) * x;
    return Coupled{x, y, first};
  });
}

/// Equation 15.
InversionState edict_ascend(const InversionRun& run, InversionState state, int until) {
  const double p = mixing(run.options);
  const auto& levels = run.trajectory.levels;
  return ascend_coupled(run, state, until, [&](const Coupled& pair, int level) {
    const NoiseLevel &from = levels[level - 1], &to = levels[level];
    const double a = to.alpha / from.alpha;
    Tensor x = pair.x, y = pair.y;
    y = (y - (1 - p) * x) / p;
    x = (x - (1 - p) * y) / p;
    if (swaps(level - 1)) std::swap(x, y);
    y = (y - edict_increment(asked(run, x, from), x, from, to)) / a;
    const Prediction last = asked(run, y, from);
    x = (x - edict_increment(last, y, from, to)) / a;
    if (swaps(level - 1)) std::swap(x, y);
    return Coupled{x, y, last};
  });
}

}  // namespace

Sampler edict_sampler() {
  return {
      .name = "edict",
      .description = "Coupled transformations of two latents: invertible, two evaluations a step",
      .paper = "2211.12446",
      .scheduler = "DDIMScheduler",
      .options = {{"p", "0.93", "how much of itself each keeps where they mix, 0.5 to 1"},
                  {"set_alpha_to_one", "", "end at x_0, not at the cleanest timestep"}},
      .trajectory = table_trajectory,
      .renoises = true,
      .run = generate_by<edict_descend>,
      .inverse = {.pairs = true, .ascend = edict_ascend, .descend = edict_descend}};
}

}  // namespace tiller
