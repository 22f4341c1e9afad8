#include <ATen/ATen.h>

#include "io/error.h"
#include "samplers/coupled.h"
#include "samplers/registry.h"

namespace tiller {
namespace {

/// Latents over alpha, at sigma / alpha: what the method steps in.
struct Point {
  Tensor value;  ///< float64.
  int level;
};

class Walk {
 public:
  explicit Walk(const InversionRun& run) : run_(run) {
    require_signal_at_start(run.trajectory);
    for (int level = 1; level <= run.trajectory.steps(); ++level)
      if (ratio(level) == ratio(level - 1))
        throw UsageError(
            "set_alpha_to_one: got a run whose last step changes nothing, expected one that does: "
            "true, or offset=1.");
  }

  Point enter(const Tensor& latents, int level) const {
    return {float_latents(latents).to(at::kDouble) / alpha(level), level};
  }
  Tensor latents(const Point& point) const { return alpha(point.level) * point.value; }

  /// To a neighbour of `now`, by DDIM's step.
  Point first(const Point& now, int to) {
    return {now.value + (ratio(to) - ratio(now.level)) * epsilon_at(now), to};
  }

  /// To the neighbour of `now` that isn't `before`: arXiv 2410.07273, equation 18, and its inverse,
  /// which has the same form.
  Point next(const Point& before, const Point& now) {
    const int to = 2 * now.level - before.level;
    const double h = ratio(to) - ratio(now.level);
    const double r = h / (ratio(now.level) - ratio(before.level));
    return {r * r * before.value + (1 - r * r) * now.value + h * (1 + r) * epsilon_at(now), to};
  }

  /// Tells the observer of `point`; what it changes counts when descending.
  void tell(Point& point, bool descends) const {
    if (!run_.observer) return;
    const Tensor before = latents(point);
    Tensor after = before;
    run_.observer({descends ? point.level - 1 : point.level, run_.trajectory.steps(),
                   run_.trajectory.levels[point.level], after, prediction_});
    if (descends && !after.is_same(before)) point = enter(after, point.level);
  }

 private:
  double alpha(int level) const { return run_.trajectory.levels[level].alpha; }
  double ratio(int level) const { return run_.trajectory.levels[level].sigma / alpha(level); }

  const Tensor& epsilon_at(const Point& point) {
    const bool end = point.level == run_.trajectory.steps();
    prediction_ = asked(run_, latents(point),
                        end ? end_level(run_.trajectory) : run_.trajectory.levels[point.level]);
    return prediction_.epsilon;
  }

  const InversionRun& run_;
  Prediction prediction_;  ///< The latest, for observers.
};

/// To level `end`. The state's partner is the neighbour of its latents in this direction.
InversionState walk(const InversionRun& run, const InversionState& state, int end) {
  Walk walk(run);
  Point before = walk.enter(state.latents, state.level);
  if (state.level == end) return {.level = end, .latents = walk.latents(before)};
  const int neighbour = state.level + (end > state.level ? 1 : -1);
  const bool descends = end > state.level, begun = state.partner.defined();
  Point now = begun ? walk.enter(state.partner, neighbour) : walk.first(before, neighbour);
  if (!begun) walk.tell(now, descends);
  while (now.level != end) {
    before = std::exchange(now, walk.next(before, now));
    walk.tell(now, descends);
  }
  return {.level = end, .latents = walk.latents(now), .partner = walk.latents(before)};
}

InversionState o_belm_ascend(const InversionRun& run, InversionState state, int until) {
  require_landings_on_levels(run.trajectory);
  return walk(run, state, until);
}

InversionState o_belm_descend(const InversionRun& run, InversionState state) {
  return walk(run, state, run.trajectory.steps());
}

}  // namespace

Sampler o_belm_sampler() {
  return {.name = "o-belm",
          .description =
              "Bidirectional explicit linear multistep, of second order: invertible, one "
              "evaluation a step",
          .paper = "2410.07273",
          .scheduler = "DDIMScheduler",
          .options = {{"set_alpha_to_one", "", "end at x_0, not at the cleanest timestep"}},
          .trajectory = table_trajectory,
          .reads_sample = false,
          .run = generate_by<o_belm_descend>,
          .inverse = {.pairs = true, .ascend = o_belm_ascend, .descend = o_belm_descend}};
}

}  // namespace tiller
