#pragma once
#include "io/file.h"

namespace tiller {

/// A file's SHA-256 as 64 hexadecimal digits. Throws Error when it can't be read.
std::string sha256_hex(const fs::path&);

}  // namespace tiller
