#pragma once
#include "tools/generation.h"

namespace tiller {

/// Writes what the batch at hand is coming to, every few steps and at most twice a second, into a
/// PNG that is replaced at once. It shows each step's denoised estimate: by TAESD where there is
/// one, else by a linear map of the latents, eight times as large; models of pixels show it as it
/// is. An empty path: an empty observer.
Observer preview_writer(const Generation&, const fs::path&);

}  // namespace tiller
