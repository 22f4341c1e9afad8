#include "samplers/steered.h"

#include "io/error.h"

namespace tiller {
namespace {

/// A run of no steps that only looks at the options has no steering at all.
bool only_looks(const InversionRun& run) { return !run.steering.conditional; }

/// Of the records' steps, the one for a level.
Tensor record_at(const Tensor& record, int level, int steps) {
  const int64_t count = record.size(0);
  return record[count == 1 ? 0 : level - (steps - count)];
}

void require_record(const InversionRun& run, const InversionState& state,
                    const std::string& sampler) {
  require_text(run);
  const Tensor &record = state.record, &negative = run.steering.negative;
  const int64_t steps = run.trajectory.steps() - state.level;
  const bool enough = record.dim() == 4 && (record.size(0) == 1 || record.size(0) >= steps);
  if (enough && record[0].sizes() == negative.sizes()) return;
  throw UsageError(sampler +
                   ": got a record of other prompts' shape, expected the model's that "
                   "inverted. Prompts of one length give one.");
}

}  // namespace

void require_text(const InversionRun& run) {
  if (only_looks(run) || (run.steering.with_negative && run.steering.positive.defined())) return;
  throw UsageError(
      "model: got one that reads no text, expected one with a prompt and a negative prompt. bdia "
      "inverts any.");
}

InversionState ascend_unguided(const InversionRun& run, const InversionState& state, int until,
                               std::vector<Tensor>* path) {
  if (path) path->push_back(as_state(float_latents(state.latents)));
  return walk_up(run, state, until, [&](const Tensor& x, int level) {
    const Stepped next = ddim_up(unguided(run), run.trajectory, x, level);
    if (path) path->push_back(next.latents);
    return next;
  });
}

InversionState descend_with_negatives(const InversionRun& run, const InversionState& state,
                                      const std::string& sampler) {
  if (!state.record.defined()) return ddim_descend(run, state);
  require_record(run, state, sampler);
  const int steps = run.trajectory.steps();
  Denoiser denoise;
  return walk_down(run, state, [&](const Tensor& x, int level) {
    if (!denoise || state.record.size(0) > 1)
      denoise = run.steering.with_negative(record_at(state.record, level, steps));
    return ddim_down(denoise, run.trajectory, x, level);
  });
}

}  // namespace tiller
