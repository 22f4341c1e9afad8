#include "samplers/coupled.h"

#include "io/error.h"

namespace tiller {
namespace {

Coupled entered(const InversionState& state) {
  const Tensor x = float_latents(state.latents).to(at::kDouble);
  return {x, state.partner.defined() ? float_latents(state.partner).to(at::kDouble) : x, {}};
}

}  // namespace

InversionState ascend_coupled(const InversionRun& run, const InversionState& state, int until,
                              const CoupledStep& step) {
  require_landings_on_levels(run.trajectory);
  require_signal_at_start(run.trajectory);
  Coupled pair = entered(state);
  for (int level = state.level; level > until; --level) {
    pair = step(pair, level);
    report_ascending(run, level - 1, pair.x, pair.prediction);
  }
  return {.level = until, .latents = pair.x, .partner = pair.y};
}

InversionState descend_coupled(const InversionRun& run, const InversionState& state,
                               const CoupledStep& step) {
  require_signal_at_start(run.trajectory);
  Coupled pair = entered(state);
  const int steps = run.trajectory.steps();
  for (int level = state.level; level < steps; ++level) {
    pair = step(pair, level);
    const Tensor before = pair.x;
    report(run.observer, run.trajectory, level, pair.x, pair.prediction);
    if (!pair.x.is_same(before)) pair.y = at::where(pair.x == before, pair.y, pair.x);
  }
  return {.level = steps, .latents = pair.x, .partner = pair.y};
}

}  // namespace tiller
