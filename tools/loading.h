#pragma once
#include "tools/generation.h"

namespace tiller {

/// Loads the model that the request names, or the default one, with all that the request puts in
/// it; fills in device and dtype. Throws UsageError or Error.
void load_requested(Generation&);

}  // namespace tiller
