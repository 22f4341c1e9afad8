#pragma once
#include "tools/generation.h"

namespace tiller {

/// Throws UsageError where the request lacks an image that the network reads beside its latents (a
/// mask with the init image, or an image to edit), or has a mask that it can't heed; Error where no
/// known network reads so many channels.
void require_read_images(const Generation&);

/// Throws UsageError where the network reads an image beside its latents.
void require_latents_alone(const Model&);

}  // namespace tiller
