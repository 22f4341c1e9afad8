#include <ATen/ATen.h>

#include <algorithm>

#include "io/error.h"
#include "io/quantized.h"
#include "models/components.h"
#include "models/derived_config.h"
#include "models/edm_marks.h"
#include "models/family.h"
#include "models/single_file_parts.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

constexpr int64_t kFullWidth = 320;  ///< The first stage of published models but the refiner.

/// What users mistake for a checkpoint of Stable Diffusion 1, 2 or XL, by a part of a name.
const std::vector<std::pair<std::string, std::string>> kForeign = {
    {"lora_down.", "a LoRA, which goes with a model: --lora"},
    {"lora_A.", "a LoRA, which goes with a model: --lora"},
    {"control_model.", "a ControlNet"},
    {"input_hint_block.", "a ControlNet"},
    {"joint_blocks.", "a Stable Diffusion 3 model"},
    {"double_blocks.", "a Flux model"},
    {"double_stream_blocks.", "a HiDream model"},
    {"image_proj.", "an IP-Adapter"},
    {"string_to_param", "a textual inversion"},
    {"emb_params", "a textual inversion"},
};

/// Those that would pass for one.
const std::vector<std::pair<std::string, std::string>> kUnsupported = {
    {"diffusion_model.label_emb.weight", "Stable Diffusion's x4 upscaler"},
    {"motion_modules.", "an AnimateDiff motion module"},
    {"controlnet_cond_embedding.", "a ControlNet"},
};

/// Where a text encoder may lie.
struct TextSource {
  const char* prefix;
  bool open_clip;
  const char* part;
};
constexpr TextSource kTextSources[] = {
    {"cond_stage_model.transformer.", false, "text_encoder"},
    {"cond_stage_model.model.", true, "text_encoder"},
    {"conditioner.embedders.0.transformer.", false, "text_encoder"},
    {"conditioner.embedders.0.model.", true, "text_encoder"},
    {"conditioner.embedders.1.model.", true, "text_encoder_2"},
    {"cond_stage_model.1.transformer.", false, "text_encoder_2"},  // stable-diffusion.cpp's
};

/// SD2 reads the layer before OpenCLIP's last.
constexpr const char* kUnreadLayer = "text_model.encoder.layers.23.";

[[noreturn]] void refuse_file(const fs::path& path, const std::string& found) {
  throw Error(path.string() + ": got " + found +
              ", expected a checkpoint of Stable Diffusion 1, 2 or XL.");
}

Component component(TensorMap tensors, Json config, const fs::path& path) {
  Component part{std::move(config), path.string(), {}};
  for (auto& [name, tensor] : tensors) part.tensors.emplace_back(name, std::move(tensor));
  return part;
}

/// A single file's family by what its UNet was trained with.
Family family_of(const TensorMap& unet, const TensorFile& file) {
  const int64_t context = context_width_of(unet);
  bool linear = false;
  for (const auto& [name, tensor] : unet)
    if (name.ends_with(".proj_in.weight")) linear = tensor.dim() == 2;
  const auto text = [&](const std::string& prefix) { return !with_prefix(file, prefix).empty(); };
  if (has(unet, "add_embedding.linear_1.weight")) {
    const bool alone = !text("conditioner.embedders.0.transformer.");
    const bool refines = alone && (context == 1280 || text("conditioner.embedders.0.model."));
    return refines ? Family::refiner : Family::sdxl;
  }
  if (context == 1024 || text("cond_stage_model.model.") || text("conditioner.embedders.0.model."))
    return Family::sd2;
  const bool clip = text("cond_stage_model.transformer.");
  return linear && !clip && context != 768 ? Family::sd2 : Family::sd1;
}

/// Whether an SD2 of full size predicts v. ComfyUI tells it by the spread of one bias, which is
/// below 0.09 in the models that predict epsilon (supported_models.py, SD20); else as diffusers:
/// v, but for inpainting models.
bool sd2_predicts_v(const TensorMap& unet, int64_t in_channels) {
  if (in_channels != 4) return false;
  const auto bias = unet.find("up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias");
  if (bias == unet.end() || bias->second.numel() != kFullWidth) return true;
  const Tensor values = dequantized(bias->second).to(at::kFloat);
  const double spread = values.std(/*unbiased=*/false).item<double>();
  return spread == 0 || spread > 0.09;
}

/// By markers that mergers leave: an empty tensor called v_pred, or ModelSpec's metadata.
bool predicts_v(const TensorFile& file, const TensorMap& unet, Family family, int64_t in_channels) {
  if (has(file, "v_pred")) return true;
  for (const char* key : {"modelspec.predict_key", "modelspec.prediction_type"}) {
    const auto found = file.metadata.find(key);
    if (found != file.metadata.end() && !found->second.empty()) return found->second[0] == 'v';
  }
  return family == Family::sd2 && sd2_predicts_v(unet, in_channels);
}

void add_text_encoders(Components& components, const TensorFile& file, Family family,
                       const fs::path& path) {
  for (const auto& source : kTextSources) {
    const TensorMap tensors = with_prefix(file, source.prefix);
    if (tensors.empty()) continue;
    const bool second = family == Family::refiner || std::string(source.part) == "text_encoder_2";
    TensorMap clip = source.open_clip ? open_clip_of(tensors, second) : clip_of(tensors, second);
    if (family == Family::sd2 && !source.open_clip)
      std::erase_if(clip, [](const auto& entry) { return entry.first.starts_with(kUnreadLayer); });
    const bool gelu = source.open_clip || second || family == Family::sd2;
    Json config = clip_config_of(clip, gelu ? "gelu" : "quick_gelu");
    components.parts[second ? "text_encoder_2" : "text_encoder"] =
        component(std::move(clip), std::move(config), path);
  }
}

/// The width of the pooled text that the added embedding reads, from the encoder that makes it.
int64_t pooled_width(const Components& components) {
  const auto encoder = components.parts.find("text_encoder_2");
  return encoder == components.parts.end() ? 1280
                                           : encoder->second.config.value("projection_dim", 1280);
}

void add_unet(Components& components, TensorMap unet, const TensorFile& file, Family family,
              const fs::path& path) {
  const bool xl = family == Family::sdxl || family == Family::refiner;
  Json config =
      unet_config_of(unet, family == Family::sd1 ? std::optional<int64_t>(8) : std::nullopt,
                     pooled_width(components), family == Family::refiner ? 5 : 6);
  const bool v = predicts_v(file, unet, family, config["in_channels"]);
  if (config.contains("addition_embed_type") && config["cross_attention_dim"] == 1024)
    refuse_file(path, "SD2.1 unCLIP, which reads images");
  config["sample_size"] = xl ? 128 : family == Family::sd2 && v ? 96 : 64;
  components.index = index_of(family, config["in_channels"]);
  Json scheduler = edm_scheduler_config(file);
  if (scheduler.is_null()) scheduler = scheduler_config_of(family, v, v && has(file, "ztsnr"));
  components.parts["scheduler"] = component({}, std::move(scheduler), path);
  components.parts["unet"] = component(std::move(unet), std::move(config), path);
}

void add_vae(Components& components, TensorMap vae, const TensorFile& file,
             std::optional<Family> family, const fs::path& path) {
  Json config = vae_config_of(vae);
  if (family) {
    const bool xl = *family == Family::sdxl || *family == Family::refiner;
    config.update(vae_scaling_of(xl));
    config["sample_size"] = xl ? 1024 : 512;
    config.update(edm_latent_statistics(file));
  }
  components.parts["vae"] = component(std::move(vae), std::move(config), path);
}

/// Throws when a tensor's name has one of the marks.
void refuse_marked(const std::vector<std::pair<std::string, std::string>>& marks,
                   const TensorFile& file, const fs::path& path) {
  for (const auto& [mark, what] : marks)
    for (const auto& [name, tensor] : file.tensors)
      if (name.find(mark) != std::string::npos) refuse_file(path, what);
}

}  // namespace

Components single_file_components(const fs::path& path) {
  const TensorFile file = map_tensors(path);
  refuse_marked(kUnsupported, file, path);
  TensorMap unet = unet_of(file), vae = vae_of(file);
  if (unet.empty() && vae.empty()) {
    refuse_marked(kForeign, file, path);
    refuse_file(path, "tensors such as '" + printable(file.tensors.front().first) + "'");
  }
  Components components;
  components.index = {{"_class_name", "AutoencoderKL"}};
  std::optional<Family> family;
  if (!unet.empty()) {
    family = family_of(unet, file);
    add_text_encoders(components, file, *family, path);
    add_unet(components, std::move(unet), file, *family, path);
  }
  if (!vae.empty()) add_vae(components, std::move(vae), file, family, path);
  return components;
}

}  // namespace tiller
