#pragma once
#include "io/process_group.h"
#include "training/state.h"

namespace tiller {

/// Gives all processes the first one's state.
void share_state(ProcessGroup&, TrainState&);

}  // namespace tiller
