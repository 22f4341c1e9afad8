#pragma once
#include "tools/generation.h"

namespace tiller {

/// Loads the model that the request names, or the default one, with all that the request puts in
/// it; fills in device and dtype. Throws UsageError or Error.
void load_requested(Generation&);

/// Says whether weights of these models, evaluated in one run, are kept a second time in the order
/// that they are read in. Decided by the models and the memory alone, since an inversion and its
/// way back must round alike; load_requested does so for its own.
void decide_on_packing(std::initializer_list<const Generation*>);

}  // namespace tiller
