#pragma once
/// Tensors by which checkpoints of SDXL's UNet in one file tell that they are EDM models:
/// Playground 2.5's and CosXL's. Source: ComfyUI's supported_models.py, diffusers'
/// single_file_utils.py.
#include <nlohmann/json.hpp>

#include "io/tensor_file.h"

namespace tiller {

/// diffusers' scheduler_config.json for the model; null where nothing marks it.
nlohmann::json edm_scheduler_config(const TensorFile&);

/// diffusers' keys of the VAE's latents that Playground's file has; an empty object where it has
/// none. Throws Error where they are no numbers.
nlohmann::json edm_latent_statistics(const TensorFile&);

}  // namespace tiller
