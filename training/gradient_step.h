#pragma once
#include "training/options.h"
#include "training/state.h"
#include "training/task.h"
#include "training/training_group.h"

namespace tiller {

/// Without autocast, and for bfloat16's on a CPU without instructions for it, where a step takes
/// three to twelve times as long as in float32.
bool computes_in_float32(const TrainOptions&);

/// What a step came to.
struct StepOutcome {
  double loss = 0;  ///< Mean over the whole batch, all processes together.
  double gradient_norm = 0;
  bool overflowed = false;  ///< In float16: the weights stay, the loss scale falls.
};

/// One step of all processes: gradients of each part of the batch added up, averaged over the
/// processes, clipped, and AdamW's step with them; then the averages of the weights. Throws Error
/// where a loss isn't finite, naming step and image, or the gradient isn't, naming the step, and
/// leaves the weights as they were; in float16, once a smaller loss scale can't help.
StepOutcome gradient_step(const TrainOptions&, TrainTask&, TrainState&, TrainingGroup&,
                          double learning_rate);

}  // namespace tiller
