#pragma once
#include "training/options.h"

namespace tiller {

/// Trains, resuming from `output` where an earlier run of the same options was killed. Writes there
/// the average of the weights as a model that loads (task.h says in which files);
/// state.safetensors; log.jsonl (step, loss, gradient norm, learning rate, images/s);
/// samples/step-N.png. What a kill kept an earlier run from making of its last saved step is made
/// first. After SIGINT or SIGTERM it saves and returns; a second SIGINT, seconds later, ends
/// the process at once. Returns the steps that are done. Throws Error or UsageError.
int64_t train(const TrainOptions&);
/// The same among processes that have met.
int64_t train(const TrainOptions&, Processes&);

}  // namespace tiller
