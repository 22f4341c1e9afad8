#pragma once
#include "models/clip_tokenizer.h"
#include "models/diffusers_folder.h"

namespace tiller {

/// The config of a text-to-image model that is to be trained, or of one that reads classes, where
/// there is neither text encoder nor tokenizer.
struct PipelineConfig {
  nlohmann::json unet, scheduler;        ///< diffusers' configs.
  nlohmann::json text_encoder;           ///< transformers'; null: the UNet reads classes.
  fs::path tokenizer;                    ///< A folder that is there already.
  fs::path vae;                          ///< Likewise; empty: it works on pixels.
  std::vector<std::string> prompts;      ///< Of the sample grids; may be empty.
  std::vector<std::string> class_names;  ///< One a class; of a model of classes once it is known.

  bool reads_text() const { return !text_encoder.is_null(); }
};

/// Whether such a config is of a model that reads text.
bool describes_text(const nlohmann::json&);

/// `file` is for messages. Throws UsageError naming what is missing or unknown.
PipelineConfig read_pipeline_config(const nlohmann::json&, const std::string& file);

/// Fills in what a text encoder's config takes from its tokenizer: sizes and special ids.
void complete_text_encoder(PipelineConfig&, const ClipTokenizer&);

/// Makes fresh networks start well: embeddings as small as CLIP's, and residual branches that begin
/// at zero, as guided-diffusion's do.
void settle(NamedTensors& parameters);

/// Writes a folder for diffusers' StableDiffusionPipeline: model_index.json, unet, text_encoder,
/// scheduler, and copies of VAE (where there is one) and tokenizer. Of a model of classes the same
/// without text encoder and tokenizer, and with the classes' names. parameters: "unet.NAME" and
/// "text_encoder.NAME".
void save_pipeline(const fs::path& folder, const PipelineConfig&, const NamedTensors& parameters);

}  // namespace tiller
