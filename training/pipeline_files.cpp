#include "training/pipeline_files.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "io/error.h"
#include "io/safetensors.h"
#include "models/class_to_image.h"
#include "training/latents.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

const std::vector<std::string> kTokenizerFiles = {"vocab.json",
                                                  "merges.txt",
                                                  "tokenizer.json",
                                                  "tokenizer_config.json",
                                                  "special_tokens_map.json",
                                                  "added_tokens.json"};

Json object_at(const Json& config, const std::string& key, const std::string& file) {
  const auto found = config.find(key);
  if (found == config.end() || !found->is_object())
    throw UsageError(file + ": " + key + ": got " +
                     (found == config.end() ? "nothing" : printable(found->dump())) +
                     ", expected diffusers' config of that part.");
  return *found;
}

fs::path folder_at(const Json& config, const std::string& key, const std::string& file,
                   const std::string& hint) {
  const auto found = config.find(key);
  const bool is_text = found != config.end() && found->is_string();
  if (is_text && fs::is_directory(found->get<std::string>())) return found->get<std::string>();
  throw UsageError(file + ": " + key + ": got " +
                   (is_text                 ? "'" + printable(*found) + "', which isn't there"
                    : found == config.end() ? "nothing"
                                            : printable(found->dump())) +
                   ", expected a folder. " + hint);
}

void write_json(const fs::path& path, const Json& json) { write_file(path, json.dump(2) + "\n"); }

Json class_index(const PipelineConfig& config) {
  Json index = {{"_class_name", "DiffusionPipeline"},
                {"_diffusers_version", "0.31.0"},
                {"id2label", id_to_label(config.class_names)},
                {"scheduler", {"diffusers", config.scheduler.at("_class_name")}},
                {"unet", {"diffusers", "UNet2DConditionModel"}}};
  if (!config.vae.empty()) index["vae"] = {"diffusers", "AutoencoderKL"};
  return index;
}

Json text_index(const PipelineConfig& config) {
  Json index = {{"_class_name", "StableDiffusionPipeline"},
                {"_diffusers_version", "0.31.0"},
                {"requires_safety_checker", false},
                {"scheduler", {"diffusers", config.scheduler.at("_class_name")}},
                {"text_encoder", {"transformers", "CLIPTextModel"}},
                {"tokenizer", {"transformers", "CLIPTokenizer"}},
                {"unet", {"diffusers", "UNet2DConditionModel"}},
                {"vae", {"diffusers", "AutoencoderKL"}}};
  for (const char* none : {"feature_extractor", "image_encoder", "safety_checker"})
    index[none] = Json::array({nullptr, nullptr});
  if (config.vae.empty()) index["vae"] = Json::array({nullptr, nullptr});
  return index;
}

NamedTensors part_of(const NamedTensors& parameters, const std::string& prefix) {
  NamedTensors part;
  for (const auto& [name, tensor] : parameters)
    if (name.starts_with(prefix)) part.emplace_back(name.substr(prefix.size()), tensor);
  return part;
}

bool ends_branch(const std::string& name) {
  const auto within = [&](const char* part) { return name.find(part) != std::string::npos; };
  return within(".conv2.") || within(".proj_out.") || name.starts_with("unet.conv_out.") ||
         name.starts_with("conv_out.");
}

}  // namespace

bool describes_text(const Json& config) {
  return config.contains("text_encoder") || config.contains("tokenizer");
}

PipelineConfig read_pipeline_config(const Json& config, const std::string& file) {
  const std::vector<std::string> known = {"unet", "text_encoder", "scheduler",
                                          "vae",  "tokenizer",    "prompts"};
  for (const auto& [key, value] : config.items())
    if (!key.starts_with('_') && !std::count(known.begin(), known.end(), key))
      throw UsageError(file + ": got the unknown key '" + printable(key) + "', expected " +
                       enumerate(known) + "." + suggestion(key, known));
  PipelineConfig result;
  result.unet = object_at(config, "unet", file);
  const bool reads_text = describes_text(config);
  if (reads_text) result.text_encoder = object_at(config, "text_encoder", file);
  result.scheduler = object_at(config, "scheduler", file);
  if (!result.scheduler.contains("_class_name"))
    throw UsageError(file + ": scheduler: got no _class_name, expected one such as DDIMScheduler.");
  const Json size = result.unet.value("sample_size", Json());
  if (!size.is_number_integer() || size < 1 || size > 1024)
    throw UsageError(file + ": unet.sample_size: got " + printable(size.dump()) +
                     ", expected the latents' size, 1 to 1024.");
  if (config.contains("vae"))
    result.vae = folder_at(config, "vae", file, "`tiller train` an autoencoder first.");
  if (reads_text)
    result.tokenizer =
        folder_at(config, "tokenizer", file, "scripts/caption_vocabulary.py makes one.");
  else if (config.contains("prompts"))
    throw UsageError(file +
                     ": prompts: got some without text_encoder and tokenizer, expected all "
                     "three, or none for a model of classes.");
  for (const auto& prompt : config.value("prompts", Json::array())) {
    if (!prompt.is_string())
      throw UsageError(file + ": prompts: got " + printable(prompt.dump()) + ", expected texts.");
    result.prompts.push_back(prompt.get<std::string>());
  }
  return result;
}

void complete_text_encoder(PipelineConfig& config, const ClipTokenizer& tokenizer) {
  Json& text = config.text_encoder;
  text["architectures"] = Json::array({"CLIPTextModel"});
  text["model_type"] = "clip_text_model";
  text["vocab_size"] = tokenizer.size();
  text["max_position_embeddings"] = tokenizer.max_length();
  text["bos_token_id"] = tokenizer.begin();
  text["eos_token_id"] = tokenizer.end();
  text["pad_token_id"] = tokenizer.pad();
  config.unet["cross_attention_dim"] = text.at("hidden_size");
  config.unet["_class_name"] = "UNet2DConditionModel";
}

void settle(NamedTensors& parameters) {
  constexpr double token_scale = 0.02, position_scale = 0.01;
  const at::NoGradGuard guard;
  for (auto& [name, tensor] : parameters) {
    if (ends_branch(name)) tensor.zero_();
    if (name.ends_with("token_embedding.weight")) tensor.mul_(token_scale);
    if (name.ends_with("position_embedding.weight")) tensor.mul_(position_scale);
  }
}

void save_pipeline(const fs::path& folder, const PipelineConfig& config,
                   const NamedTensors& parameters) {
  write_json(folder / "unet/config.json", config.unet);
  save_safetensors(folder / "unet/diffusion_pytorch_model.safetensors",
                   part_of(parameters, "unet."), {{"format", "pt"}});
  if (config.reads_text()) {
    write_json(folder / "text_encoder/config.json", config.text_encoder);
    save_safetensors(folder / "text_encoder/model.safetensors",
                     part_of(parameters, "text_encoder."), {{"format", "pt"}});
  }
  write_json(folder / "scheduler/scheduler_config.json", config.scheduler);
  if (!config.vae.empty()) copy_vae(config.vae, folder / "vae");
  for (const auto& name : kTokenizerFiles)
    if (config.reads_text() && fs::is_regular_file(config.tokenizer / name))
      write_file(folder / "tokenizer" / name, read_file(config.tokenizer / name));
  write_json(folder / "model_index.json",
             config.reads_text() ? text_index(config) : class_index(config));
}

}  // namespace tiller
