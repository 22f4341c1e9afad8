#pragma once
#include "models/components.h"

namespace tiller {

/// Puts another UNet in place of a pipeline's: of a diffusers folder (the UNet's own or a
/// pipeline's), or in one file, by itself or in a checkpoint. What a file's tensors don't tell,
/// such as heads, is as the pipeline's config has it where the widths are the same; the scheduler
/// stays. Throws Error where there is none, and where it is of another family.
void replace_unet(Components&, const fs::path&, bool half);

}  // namespace tiller
