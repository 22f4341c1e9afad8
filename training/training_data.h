#pragma once
#include "training/dataset.h"
#include "training/options.h"

namespace tiller {

/// The run's images, (N, 3, size, size), on the CPU or, with a data cache, mapped. Throws Error.
Dataset decoded_data(const TrainOptions&, int64_t size);

/// The same where they are trained on. The first process says on standard error what was left out
/// and which classes have no image. Throws UsageError on pairs where none can be learned from,
/// Error on a label of a million or more.
Dataset load_training_data(const TrainOptions&, int64_t size, bool pairs = false);

/// The lines that it says: a few images by name, the others' number, and classes without images.
std::vector<std::string> complaints_of(const Dataset&);

}  // namespace tiller
