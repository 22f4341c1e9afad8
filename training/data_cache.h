#pragma once
#include "training/dataset.h"

namespace tiller {

/// As load_dataset, with the images in a file below `folder`, mapped. The first process that asks
/// decodes, others wait for it; later runs find the file, as long as the data's files have the same
/// names, sizes and times of change. Throws Error when the folder can't be written, and UsageError
/// for pairs.
Dataset cached_dataset(const fs::path& path, int64_t size, const fs::path& folder);

}  // namespace tiller
