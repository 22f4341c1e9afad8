#pragma once
#include "models/components.h"
#include "models/model.h"

namespace tiller {

/// An autoencoder from its config and tensors. Throws Error naming what doesn't fit.
Autoencoder autoencoder_from(Component, at::ScalarType dtype, at::Device device);

/// A model of the Stable Diffusion family from its parts: the UNet in `dtype` on `device`, its
/// layers over tokens in FP8 if asked (fp8.h), text encoders and VAE beside it; or one whose UNet
/// reads classes (class_to_image.h). Throws Error naming the part that is missing, and its missing,
/// surplus or misshapen tensors.
Model pipeline_model(Components, at::ScalarType dtype, at::Device device, bool fp8 = false);

}  // namespace tiller
