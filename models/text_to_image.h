#pragma once
#include "models/components.h"
#include "models/model.h"

namespace tiller {

/// An autoencoder from its config and tensors. Throws Error naming what doesn't fit.
Autoencoder autoencoder_from(Component, at::ScalarType dtype, at::Device device);

/// A model of the Stable Diffusion family from its parts: the UNet in `dtype` on `device`, its
/// layers over tokens in FP8 if asked (fp8.h), text encoders and VAE beside it. Throws Error naming
/// the part that is missing, and its missing, surplus or misshapen tensors.
Model text_to_image_model(Components, at::ScalarType dtype, at::Device device, bool fp8 = false);

}  // namespace tiller
