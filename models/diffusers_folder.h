#pragma once
#include "models/components.h"

namespace tiller {

/// Whether a folder is a diffusers pipeline: it has a model_index.json.
bool is_diffusers_folder(const fs::path&);

/// What a folder holds that is a part of a pipeline by itself and no network that denoises, by its
/// config: "AutoencoderKL", "ControlNetModel" ...; "": none.
std::string lone_part(const fs::path& folder);
std::string lone_part(const nlohmann::json& config);

/// Whether a model_index.json has this part.
bool names_part(const nlohmann::json& index, const std::string& part);

/// The parts of a diffusers pipeline's folder that a text-to-image model needs; safety checkers and
/// the like are left out. Weights are safetensors, sharded ones by their index, else PyTorch
/// pickles; of several variants the plain one is taken unless `half`, then fp16's. Throws Error
/// naming the part that is missing.
Components diffusers_components(const fs::path& folder, bool half = false);

/// The files that diffusers_components reads of a pipeline's text encoders, tokenizers and VAE, by
/// part. Throws as that does.
std::map<std::string, std::vector<fs::path>> part_files(const fs::path& folder, bool half = false);

/// A file of weights; of a sharded checkpoint's index it and the files that it names. Throws Error.
std::vector<fs::path> weight_files(const fs::path& weights);

/// The tensors of one part's folder, such as vae/, and where they came from.
Component component_in(const fs::path& folder, bool half = false);

}  // namespace tiller
