#pragma once
#include <vector>

#include "io/file.h"

namespace tiller {

/// What isn't a folder below a folder, or at the path itself: those of linked folders too, each
/// folder once, hidden names aside; a folder's entries by name. Throws fs::filesystem_error.
std::vector<fs::path> files_below(const fs::path&);

/// A SHA-256 that changes where a file or folder lies elsewhere or holds other files: of its
/// canonical path and the names, sizes and times of all files_below. Throws Error where they can't
/// be read.
std::string fingerprint_of(const fs::path&);

}  // namespace tiller
