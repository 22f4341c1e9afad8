#pragma once
#include "tools/generate_run.h"

namespace tiller {

/// Writes each sample with the unit noise that it came from, as training/dataset.h says of pairs:
/// with labels and the classes' names, or with captions, of a model that knows these.
void write_pairs(const GenerateRun&);

}  // namespace tiller
