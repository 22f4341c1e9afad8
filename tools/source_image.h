#pragma once
#include "tools/generation.h"

namespace tiller {

/// An image to invert or to edit: (3, H, W) uint8, scaled and its centre cropped to a size that is
/// given. Throws Error on transparency or 16 bits a channel.
Tensor read_source_image(const std::string& file, const ImageSize& size);

/// Pixel models draw one size; others' latents need multiples. Throws UsageError unless the request
/// has the model's, or --size gave one.
void require_source_size(const Flags&, const Generation&);

}  // namespace tiller
