#include <ATen/ATen.h>

#include "samplers/coupled.h"
#include "samplers/registry.h"

namespace tiller {
namespace {

/// An explicit Runge-Kutta method: stage k begins at `time` with `weight` of the slope before.
struct RexStage {
  double time, weight, share;  ///< share: of the stage's slope in the step.
};
using RexStages = std::vector<RexStage>;

struct Rex {
  double zeta;
  RexStages stages;
};

Rex rex_options(const Options& options) {
  const std::string solver = options.choice("solver", {"euler", "midpoint", "heun", "rk4"});
  RexStages stages = {{0, 0, 1}};
  if (solver == "midpoint") stages = {{0, 0, 0}, {0.5, 0.5, 1}};
  if (solver == "heun") stages = {{0, 0, 0.5}, {1, 1, 0.5}};
  if (solver == "rk4")
    stages = {{0, 0, 1 / 6.0}, {0.5, 0.5, 1 / 3.0}, {0.5, 0.5, 1 / 3.0}, {1, 1, 1 / 6.0}};
  return {options.number("zeta", 0.5, 1), stages};
}

/// The levels of a run as reparametrised time: sigma / alpha, in which epsilon is the slope of
/// x / alpha.
struct Time {
  NoiseLevel level;  ///< As the network is asked about it.
  double alpha, ratio;
};

Time time_at(const Trajectory& trajectory, int level) {
  const NoiseLevel& own = trajectory.levels[level];
  const bool end = level == trajectory.steps();
  return {end ? end_level(trajectory) : own, own.alpha, own.sigma / own.alpha};
}

/// The increment of x / alpha over a step, Psi of the paper.
struct RexIncrement {
  Tensor value;
  Prediction prediction;  ///< The first stage's.
};

RexIncrement rex_increment(const InversionRun& run, const Tensor& x, const Time& from,
                           const Time& to, const RexStages& stages) {
  const double h = to.ratio - from.ratio;
  const Tensor start = x / from.alpha;
  RexIncrement sum;
  Tensor slope;
  for (const auto& [time, weight, share] : stages) {
    NoiseLevel level = time == 0 ? from.level : to.level;
    double alpha = time == 0 ? from.alpha : to.alpha;
    if (time > 0 && time < 1) {
      level = level_between(run.trajectory, from.ratio + time * h, from.level);
      alpha = level.alpha;
    }
    level.step = from.level.step;
    const Prediction p = asked(run, time == 0 ? x : alpha * (start + weight * h * slope), level);
    slope = p.epsilon;
    if (!sum.prediction.epsilon.defined()) sum.prediction = p;
    if (share == 0) continue;
    const Tensor part = (share * h) * slope;
    sum.value = sum.value.defined() ? sum.value + part : part;
  }
  return sum;
}

/// arXiv 2502.08834, the coupling of McCallum and Foster in the time of noise prediction.
InversionState rex_descend(const InversionRun& run, InversionState state) {
  const auto [zeta, stages] = rex_options(run.options);
  return descend_coupled(
      run, state, [&, zeta = zeta, stages = stages](const Coupled& pair, int level) {
        const Time from = time_at(run.trajectory, level), to = time_at(run.trajectory, level + 1);
        const double a = to.alpha / from.alpha;
        const RexIncrement down = rex_increment(run, pair.y, from, to, stages);
        const Tensor x = a * (zeta * pair.x + (1 - zeta) * pair.y) + to.alpha * down.value;
        const Tensor y = a * pair.y - to.alpha * rex_increment(run, x, to, from, stages).value;
        return Coupled{x, y, down.prediction};
      });
}

InversionState rex_ascend(const InversionRun& run, InversionState state, int until) {
  const auto [zeta, stages] = rex_options(run.options);
  return ascend_coupled(
      run, state, until, [&, zeta = zeta, stages = stages](const Coupled& pair, int level) {
        const Time from = time_at(run.trajectory, level - 1), to = time_at(run.trajectory, level);
        const double a = from.alpha / to.alpha;
        const Tensor y =
            a * pair.y + from.alpha * rex_increment(run, pair.x, to, from, stages).value;
        const RexIncrement down = rex_increment(run, y, from, to, stages);
        const Tensor x = (a * pair.x - from.alpha * down.value - (1 - zeta) * y) / zeta;
        return Coupled{x, y, down.prediction};
      });
}

}  // namespace

Sampler rex_sampler() {
  return {.name = "rex",
          .description = "Any explicit Runge-Kutta method as a reversible pair of latents",
          .paper = "2502.08834",
          .scheduler = "DDIMScheduler",
          .options = {{"solver", "euler", "euler, midpoint, heun or rk4: 2, 4, 4 or 8 evaluations"},
                      {"zeta", "0.999", "how much of itself the image's latent keeps, 0.5 to 1"},
                      {"set_alpha_to_one", "", "end at x_0, not at the cleanest timestep"}},
          .trajectory = table_trajectory,
          .reads_sample = false,
          .run = generate_by<rex_descend>,
          .inverse = {.pairs = true, .ascend = rex_ascend, .descend = rex_descend}};
}

}  // namespace tiller
