#pragma once
#include <nlohmann/json.hpp>

#include <map>
#include <string>

#include "io/tensor_file.h"

namespace tiller {

/// A part of a text-to-image pipeline as found: diffusers' config and tensors in diffusers' names,
/// mapped, not yet cast.
struct Component {
  nlohmann::json config;
  std::string file;      ///< Of the weights, for messages.
  NamedTensors tensors;  ///< Empty for schedulers.
};

/// The parts of a pipeline by diffusers' names: unet, vae, text_encoder, text_encoder_2, scheduler.
struct Components {
  nlohmann::json index;  ///< model_index.json, or what stands for it; says `_class_name`.
  std::map<std::string, Component> parts;
  fs::path tokenizer, tokenizer_2;  ///< Folders; empty: CLIP's own vocabulary.
};

/// A checkpoint in one file in the original layout of Stable Diffusion 1, 2 or XL, told by its
/// tensors. Throws Error when it is none of these.
Components single_file_components(const fs::path&);

/// Puts the configs (and tokenizers) of a diffusers folder in place of those that were told from
/// the tensors, which don't say heads and prediction type for sure. Throws Error when the folder
/// has none of them.
void take_configs(Components&, const fs::path& folder);

}  // namespace tiller
