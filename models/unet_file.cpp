#include "models/unet_file.h"

#include "io/error.h"
#include "models/diffusers_folder.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

[[noreturn]] void refuse_unet(const fs::path& path, const std::string& found,
                              const std::string& expected) {
  throw Error("--unet " + path.string() + ": got " + found + ", expected " + expected + ".");
}

/// A key's value; diffusers' default where the config hasn't got it.
Json entry(const Json& config, const char* key, const Json& usual = nullptr) {
  return config.value(key, usual);
}

/// The width of the text; some configs have it once a stage.
Json context_entry(const Json& config) {
  const Json width = entry(config, "cross_attention_dim", 1280);
  return width.is_array() && !width.empty() ? width.front() : width;
}

/// What the tensors don't tell.
void take_untold(Json& config, const Json& own) {
  if (entry(config, "block_out_channels") != entry(own, "block_out_channels")) return;
  for (const char* key : {"attention_head_dim", "num_attention_heads", "norm_num_groups",
                          "sample_size", "addition_time_embed_dim"})
    if (own.contains(key)) config[key] = own.at(key);
}

/// The UNet, and the name of the pipeline that it makes.
std::pair<Component, Json> unet_in_file(const fs::path& path, const Json& own) {
  Components other = single_file_components(path);
  const auto unet = other.parts.find("unet");
  if (unet == other.parts.end()) refuse_unet(path, "a file without a UNet", "one with it");
  take_untold(unet->second.config, own);
  return {std::move(unet->second), other.index.at("_class_name")};
}

Component unet_in_folder(const fs::path& path, bool half) {
  Component unet = component_in(is_diffusers_folder(path) ? path / "unet" : path, half);
  if (entry(unet.config, "_class_name") != "UNet2DConditionModel")
    refuse_unet(path, "a folder of something else", "a UNet2DConditionModel's or a pipeline's");
  return unet;
}

}  // namespace

void replace_unet(Components& components, const fs::path& path, bool half) {
  if (!fs::exists(path)) refuse_unet(path, "nothing there", "a file or folder");
  const auto own = components.parts.find("unet");
  if (own == components.parts.end())
    refuse_unet(path, "a model without a UNet to go with it", "one with it");
  const Json config = own->second.config;
  if (fs::is_directory(path)) {
    own->second = unet_in_folder(path, half);
  } else {
    auto [unet, pipeline] = unet_in_file(path, config);
    if (entry(unet.config, "in_channels") != entry(config, "in_channels", 4))
      components.index["_class_name"] = pipeline;
    own->second = std::move(unet);
  }
  const Json wanted = context_entry(config), found = context_entry(own->second.config);
  if (wanted != found)
    refuse_unet(path, "a UNet that reads text of width " + found.dump(),
                "the " + wanted.dump() + " of the model's text encoders");
}

}  // namespace tiller
