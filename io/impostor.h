#pragma once
#include <span>

#include "io/file.h"

namespace tiller {

/// Throws Error when the bytes are of a kind that is often found in place of weights: nothing at
/// all, a Git LFS pointer, a web page, a zip archive without its end, another format. Says what to
/// do about it. Looks at the first and last few thousand bytes only.
void refuse_impostor(std::span<const std::byte>, const fs::path&);

}  // namespace tiller
