#pragma once
#include "training/dataset.h"
#include "training/options.h"

namespace tiller {

/// The run's images, (N, 3, size, size), where they are trained on. The first process says on
/// standard error what was left out and which classes have no image.
Dataset load_training_data(const TrainOptions&, int64_t size);

/// The lines that it says: a few images by name, the others' number, and classes without images.
std::vector<std::string> complaints_of(const Dataset&);

}  // namespace tiller
