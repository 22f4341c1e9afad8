#pragma once
#include "io/file.h"
#include "models/model.h"

namespace tiller {

/// Whether a pipeline's UNet chooses by class what it draws: its unet/config.json has
/// num_class_embeds and its model_index.json names no text encoder.
bool reads_classes(const nlohmann::json& index, const nlohmann::json& unet);

/// The same of a diffusers folder. Throws Error where a file can't be read.
bool is_class_pipeline(const fs::path& folder);

/// Sets the model's kind, number of classes and their names, by `config`, which it has already, and
/// model_index.json's "id2label" (as of diffusers' DiTPipeline). With one class fewer than the
/// UNet's embedding has rows, the last row is the null label; without id2label every row is a
/// class. Throws Error where they don't fit.
void take_classes(Model&, const nlohmann::json& index);

/// id2label of these names.
nlohmann::json id_to_label(const std::vector<std::string>& names);

}  // namespace tiller
