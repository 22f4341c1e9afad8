#pragma once
#include "tools/generation.h"

namespace tiller {

/// How its prompts are read.
PromptOptions prompt_options(const Generation&);

/// Encodes every prompt of a run once, all to the same number of chunks. Throws Error where one
/// can't be encoded.
PromptTable encode_prompts(const Generation&);

/// What the networks read of a batch's images: labels or prompts, and what CFG steers away from.
GuidedBatch guided_batch(const Generation&, std::span<const ImageSpec>);

}  // namespace tiller
