#pragma once
#include "training/options.h"
#include "training/state.h"
#include "training/task.h"

namespace tiller {

/// Goes on from output/state.safetensors where it is there, and says on standard error where the
/// learning rate, its warmup, the weight decay, the clipping or the images are others. Throws Error
/// when a run of other options wrote it.
void resume(const TrainOptions&, TrainState&);

/// Removes from `output` what processes that are gone were writing when they were killed.
void remove_leftovers(const fs::path& output);

/// Writes state.safetensors; the first average's model into `output`; further averages' into
/// output/ema-NAME; and the last `keep` checkpoints' into output/checkpoints/step-N. Each is
/// written beside its place and moved there when it is whole.
void save_checkpoint(const TrainOptions&, const TrainTask&, const TrainState&);

/// Whether the model of a saved step is to be kept and isn't there.
bool lacks_checkpoint(const TrainOptions&, int64_t step);

/// The first average's model into output/best.
void save_best(const TrainOptions&, const TrainTask&);

}  // namespace tiller
