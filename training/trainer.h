#pragma once
#include "training/options.h"

namespace tiller {

/// Trains, resuming from `output` where an earlier run of the same options was killed. Writes there
/// the average of the weights as a model that loads (task.h says in which files);
/// state.safetensors; log.jsonl (step, loss, gradient norm, learning rate, images/s);
/// samples/step-N.png. After SIGINT or SIGTERM it saves and returns. Throws Error or UsageError.
void train(const TrainOptions&);

}  // namespace tiller
