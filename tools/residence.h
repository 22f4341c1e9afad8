#pragma once
#include "tools/generation.h"

namespace tiller {

/// With --low-memory only the part in use is on the device. Each of these brings one there, and
/// takes the others away; elsewhere nothing happens.
void use_text_encoders(const Generation&);
void use_unet(const Generation&);
void use_vae(const Generation&);

/// With --low-memory: frees the text encoders for good.
void drop_text_encoders(const Generation&);

}  // namespace tiller
