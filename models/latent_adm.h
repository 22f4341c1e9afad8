#pragma once
#include "models/model.h"

namespace tiller {

/// The autoencoder's folder that an ADM model's config names by Tiller's own key "vae": the network
/// works on its latents, and image_size is theirs. Empty: on pixels. Throws Error naming `file`.
fs::path vae_of_config(const nlohmann::json&, const std::string& file);

/// The folder of a saved model's own autoencoder, below the model's; empty: it has none.
fs::path vae_of_model(const fs::path& model);

/// Lets the model work on the latents of the autoencoder. Throws Error where it has other channels.
void use_vae(Model&, std::shared_ptr<Autoencoder>);

/// Loads it from a diffusers VAE's folder.
std::shared_ptr<Autoencoder> load_vae(const fs::path& folder, at::ScalarType dtype = at::kFloat,
                                      at::Device device = at::kCPU);

}  // namespace tiller
