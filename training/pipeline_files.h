#pragma once
#include "models/clip_tokenizer.h"
#include "models/diffusers_folder.h"

namespace tiller {

/// The config of a text-to-image model that is to be trained.
struct PipelineConfig {
  nlohmann::json unet, text_encoder, scheduler;  ///< diffusers' and transformers' configs.
  fs::path tokenizer;                            ///< A folder that is there already.
  fs::path vae;                                  ///< Likewise; empty: it works on pixels.
  std::vector<std::string> prompts;              ///< Of the sample grids; may be empty.
};

/// `file` is for messages. Throws UsageError naming what is missing or unknown.
PipelineConfig read_pipeline_config(const nlohmann::json&, const std::string& file);

/// Fills in what a text encoder's config takes from its tokenizer: sizes and special ids.
void complete_text_encoder(PipelineConfig&, const ClipTokenizer&);

/// Makes fresh networks start well: embeddings as small as CLIP's, and residual branches that begin
/// at zero, as guided-diffusion's do.
void settle(NamedTensors& parameters);

/// Writes a folder for diffusers' StableDiffusionPipeline: model_index.json, unet, text_encoder,
/// scheduler, and copies of VAE (where there is one) and tokenizer. parameters: "unet.NAME" and
/// "text_encoder.NAME".
void save_pipeline(const fs::path& folder, const PipelineConfig&, const NamedTensors& parameters);

}  // namespace tiller
