#include "models/text_to_image.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "models/class_to_image.h"
#include "models/retold_network.h"
#include "models/unet2d_condition.h"
#include "models/unet2d_config.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

Component& part(Components& components, const std::string& name) {
  const auto found = components.parts.find(name);
  if (found == components.parts.end())
    throw Error("model: got no " + name + ", expected a " + name +
                " beside the UNet: text-to-image needs one.");
  return found->second;
}

/// Whether a key has this value; of any type, as configs are untrusted.
bool says(const Json& config, const std::string& key, const Json& value) {
  const auto found = config.find(key);
  return found != config.end() && *found == value;
}

int64_t integer_or_zero(const Json& config, const std::string& key) {
  const auto found = config.find(key);
  return found != config.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

/// Values out of bounds are refused with the rest of the scheduler's file.
EdmPreconditioner preconditioner_of(const Json& scheduler) {
  EdmPreconditioner by;
  if (!has_edm_scheduler(scheduler)) return by;
  const auto data = scheduler.find("sigma_data");
  if (data != scheduler.end() && data->is_number()) by.sigma_data = *data;
  by.negative = says(scheduler, "prediction_type", "v_prediction");
  return by;
}

bool is_xl(const Json& unet) { return says(unet, "addition_embed_type", "text_time"); }

/// A pipeline's own tokenizer, or CLIP's; OpenCLIP's encoders, of plain GELU, were trained on texts
/// padded with "!".
ClipTokenizer tokenizer_for(const Component& component, const fs::path& folder) {
  if (!folder.empty()) return ClipTokenizer(read_clip_vocabulary(folder));
  ClipVocabulary vocabulary = read_clip_vocabulary(find_clip_vocabulary());
  if (says(component.config, "hidden_act", "gelu")) vocabulary.pad = "!";
  return ClipTokenizer(std::move(vocabulary));
}

TextTower text_tower(Components& components, const std::string& name, const fs::path& tokenizer,
                     at::ScalarType dtype, at::Device device) {
  Component& component = part(components, name);
  Weights weights({std::move(component.tensors), {}}, component.file, dtype, device);
  ClipText encoder(component.config, weights);
  return {name, tokenizer_for(component, tokenizer), std::move(encoder), weights.finish(), {}};
}

std::shared_ptr<TextModel> text_model(Components& components, at::ScalarType dtype,
                                      at::Device device) {
  auto text = std::make_shared<TextModel>();
  text->device = device;
  text->xl = is_xl(part(components, "unet").config);
  text->zero_negative = text->xl && !says(components.index, "force_zeros_for_empty_prompt", false);
  if (components.parts.contains("text_encoder"))
    text->towers.push_back(
        text_tower(components, "text_encoder", components.tokenizer, dtype, device));
  if (text->xl)
    text->towers.push_back(
        text_tower(components, "text_encoder_2", components.tokenizer_2, dtype, device));
  if (text->towers.empty()) part(components, "text_encoder");
  return text;
}

/// SDXL's five (refiner) or six numbers of micro-conditioning: what the added embedding has beside
/// the pooled state.
int64_t time_ids_of(const Json& unet, const TextModel& text) {
  const int64_t pooled = text.towers.back().encoder.config().projection;
  const int64_t added = integer_or_zero(unet, "projection_class_embeddings_input_dim");
  const int64_t each = integer_or_zero(unet, "addition_time_embed_dim");
  const int64_t count = each > 0 ? (added - pooled) / each : 0;
  if (count != 5 && count != 6)
    throw Error("unet/config.json: projection_class_embeddings_input_dim: got " +
                std::to_string(added) + ", expected the pooled text's " + std::to_string(pooled) +
                " and 5 or 6 times addition_time_embed_dim.");
  return count;
}

void check_text(const Json& unet, const TextModel& text) {
  if (integer_or_zero(unet, "num_class_embeds"))
    throw Error("unet/config.json: num_class_embeds: got " + unet.at("num_class_embeds").dump() +
                ", expected null beside a text encoder.");
  int64_t width = 0;
  for (const auto& tower : text.towers) width += tower.encoder.config().layer.channels;
  const auto expected = unet.find("cross_attention_dim");
  if (expected == unet.end() || !expected->is_number_integer() || *expected == width) return;
  throw Error("model: got text encoders of width " + std::to_string(width) + ", expected " +
              expected->dump() + " as unet/config.json has cross_attention_dim.");
}

void take_text(Model& model, Components& components, at::ScalarType dtype, at::Device device) {
  model.kind = "text_to_image";
  model.text = text_model(components, dtype, device);
  check_text(model.config, *model.text);
  if (model.text->xl) model.time_ids = time_ids_of(model.config, *model.text);
}

/// Other pipelines' networks read an image beside their latents in ways of their own (Marigold).
void take_edits(Model& model, const Json& index) {
  if (!model.edits()) return;
  const auto name = index.find("_class_name");
  const std::string pipeline = name != index.end() && name->is_string() ? *name : Json("");
  if (!pipeline.starts_with("StableDiffusion"))
    throw Error("model_index.json: _class_name: got '" + printable(pipeline, 80) +
                "' with a UNet that reads " + std::to_string(model.network->in_channels()) +
                " channels, expected StableDiffusionInstructPix2PixPipeline or "
                "StableDiffusionXLInstructPix2PixPipeline.");
  model.reads_scaled_image = index.contains("is_cosxl_edit") ? says(index, "is_cosxl_edit", true)
                                                             : has_edm_scheduler(model.scheduler);
}

/// Of what only text-to-image models read beside their latents, such as masks.
void check_channels(const Model& model) {
  const int64_t in = model.network->in_channels(), out = model.network->out_channels();
  if (!model.text && in != out)
    throw Error("unet/config.json: in_channels: got " + std::to_string(in) + ", expected the " +
                std::to_string(out) + " of out_channels: the model reads classes alone.");
}

/// Latents must be what the UNet gives.
void check_vae(const Model& model) {
  const int64_t expected = model.network->out_channels(), got = model.vae->channels();
  if (got != expected)
    throw Error("vae: got an autoencoder of latents with " + std::to_string(got) +
                " channels, expected " + std::to_string(expected) + " as the UNet has.");
}

}  // namespace

Autoencoder autoencoder_from(Component component, at::ScalarType dtype, at::Device device) {
  Weights weights({std::move(component.tensors), {}}, component.file, dtype, device);
  try {
    Autoencoder vae = autoencoder(component.config, weights, device);
    vae.parameters = weights.finish();
    return vae;
  } catch (const Error& error) {
    const std::string message = error.what();
    if (!message.starts_with("config.json")) throw;
    throw Error((fs::path(component.file).parent_path() / message).string());
  }
}

namespace {

/// To a GPU the weights travel while prompts are encoded, and the first steps made and recorded.
std::shared_ptr<Autoencoder> vae_from(Component component, at::ScalarType dtype,
                                      at::Device device) {
  if (device.is_cpu())
    return std::make_shared<Autoencoder>(autoencoder_from(std::move(component), dtype, device));
  Autoencoder plan = autoencoder_from(component, dtype, at::kMeta);
  return std::make_shared<Autoencoder>(
      loaded_beside(std::move(plan), device, [component = std::move(component), dtype, device] {
        return autoencoder_from(component, dtype, device);
      }));
}

}  // namespace

Model pipeline_model(Components components, at::ScalarType dtype, at::Device device, bool fp8) {
  Model model;
  Component& unet = part(components, "unet");
  model.config = unet.config;
  model.file = fs::path(unet.file).filename().string();
  if (reads_classes(components.index, unet.config))
    take_classes(model, components.index);
  else
    take_text(model, components, dtype, device);
  if (components.parts.contains("vae"))
    model.vae = vae_from(std::move(part(components, "vae")), dtype, device);
  Weights weights({std::move(unet.tensors), {}}, unet.file, dtype, device);
  weights.fp8 = fp8;
  if (components.parts.contains("scheduler"))
    model.scheduler = components.parts["scheduler"].config;
  model.network =
      retold(unet2d_condition(unet.config, weights), preconditioner_of(model.scheduler));
  model.parameters = weights.finish();
  check_channels(model);
  take_edits(model, components.index);
  if (model.vae) check_vae(model);
  model.pixel_scale = model.vae ? model.vae->downscale() : 1;
  take_sample_size(model, unet.config);
  model.width = model.parameters.front().second.size(0);
  model.guidance_channels = integer_or_zero(unet.config, "time_cond_proj_dim");
  return model;
}

}  // namespace tiller
