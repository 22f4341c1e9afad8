#pragma once
#include "training/options.h"
#include "training/state.h"
#include "training/task.h"

namespace tiller {

/// Goes on from output/state.safetensors where it is there. Throws Error when a run of other
/// options wrote it.
void resume(const TrainOptions&, TrainState&);

/// Writes, each whole or not at all: state.safetensors; the first average's model into `output`;
/// further averages' into output/ema-NAME; and the last `keep` checkpoints' into
/// output/checkpoints/step-N.
void save_checkpoint(const TrainOptions&, const TrainTask&, const TrainState&);

/// The first average's model into output/best.
void save_best(const TrainOptions&, const TrainTask&);

}  // namespace tiller
