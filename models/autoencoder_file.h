#pragma once
#include "models/components.h"

namespace tiller {

/// An autoencoder that stands by itself, in one of the forms in which users have them: a diffusers
/// VAE's folder (AutoencoderKL or AutoencoderTiny), the folder of a pipeline that has one, a
/// weights file with such a config.json beside it, an AutoencoderKL's file in the original layout
/// or diffusers' names, a checkpoint with a VAE in it, or TAESD's file, in diffusers' names or as
/// the original taesd_encoder and taesd_decoder, which lie beside each other. Where the file has no
/// config, the result's lacks what tensors don't tell (`scaling_factor`). Throws Error.
Component autoencoder_component(const fs::path&, bool half = false);

/// The config with `scaling_factor`, `shift_factor` and `force_upcast` of another where it has
/// none: latents are scaled as the denoiser was trained.
nlohmann::json with_scaling_of(nlohmann::json config, const nlohmann::json& other);

}  // namespace tiller
