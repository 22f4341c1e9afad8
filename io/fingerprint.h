#pragma once
#include "io/file.h"

namespace tiller {

/// A SHA-256 that changes where a file or folder lies elsewhere or holds other files: of its
/// canonical path and the names, sizes and times of all files below, those of linked folders too,
/// each folder once, hidden ones aside. Throws Error where they can't be read.
std::string fingerprint_of(const fs::path&);

}  // namespace tiller
