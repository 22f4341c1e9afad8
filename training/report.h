#pragma once
#include "io/file.h"

namespace tiller {

/// A page on a training run, from what its folder holds: curves of log.jsonl (loss, learning rate,
/// images a second, norm of the gradient, and every Fréchet distance: "fid", "fd_...") and the
/// grids in samples/. Writes index.html there as one file, atomically. Throws Error.
void write_training_page(const fs::path& output);

}  // namespace tiller
