#pragma once
#include <string>

#include "io/file.h"

namespace tiller {

/// The file's SHA-256, as 64 hexadecimal digits in lower case. Throws Error when it can't be read.
std::string sha256_hex(const fs::path&);
/// Of bytes.
std::string sha256_of(std::string_view);

}  // namespace tiller
