#pragma once
#include <nlohmann/json.hpp>
#include <string>

namespace tiller {

/// The generations of Stable Diffusion, which share neither text encoders nor adapters.
enum class Family { sd1, sd2, sdxl, refiner };

/// "SD1.5", "SD2", "SDXL", "SDXL refiner".
std::string family_name(Family);

/// The family whose cross-attention reads tokens of this width; "" when none does. Throws nothing.
std::string family_of_context(int64_t width);

/// model_index.json of the family's pipeline for a UNet with that many input channels.
nlohmann::json index_of(Family, int64_t in_channels);

/// What the published VAE's config.json says of scaling: of SDXL and its refiner, or of the others.
nlohmann::json vae_scaling_of(bool xl);

/// scheduler_config.json as the family's published pipeline has it. zero_snr: with the noise
/// schedule rescaled to end in pure noise, which takes trailing timesteps (arXiv 2305.08891).
nlohmann::json scheduler_config_of(Family, bool v_prediction, bool zero_snr);

}  // namespace tiller
