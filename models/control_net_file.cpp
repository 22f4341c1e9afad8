#include "models/control_net_file.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "io/error.h"
#include "io/json.h"
#include "models/diffusers_folder.h"
#include "models/family.h"
#include "models/ldm_names.h"
#include "models/single_file_parts.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

constexpr int64_t kPooled = 1280, kTimeIds = 6;  ///< SDXL's.
constexpr int64_t kOldHeads = 8;                 ///< Of SD1.x, whatever a stage's width.
constexpr int64_t kMaxZeros = 256;

/// The original names of what a ControlNet has beside the copied UNet.
NameMap original_names() {
  NameMap map = {{"middle_block_out.0", "controlnet_mid_block"},
                 {"input_hint_block.0", "controlnet_cond_embedding.conv_in"},
                 {"input_hint_block.14", "controlnet_cond_embedding.conv_out"}};
  for (int64_t i = 0; i < 6; ++i)
    map["input_hint_block." + std::to_string(2 * i + 2)] =
        "controlnet_cond_embedding.blocks." + std::to_string(i);
  for (int64_t i = 0; i < kMaxZeros; ++i)
    map["zero_convs." + std::to_string(i) + ".0"] = "controlnet_down_blocks." + std::to_string(i);
  return map;
}

/// The tensors in diffusers' names; without "controlnet_mid_block.weight" it is no ControlNet.
TensorMap diffusers_tensors(TensorFile file) {
  if (TensorMap inside = with_prefix(file, "control_model."); !inside.empty())
    file.tensors.assign(inside.begin(), inside.end());
  const NameMap names = original_names();
  TensorMap result;
  for (const auto& [name, tensor] : unet_of(file)) result.emplace(renamed(name, names), tensor);
  return result;
}

Json config_of(const TensorMap& tensors) {
  const auto projection = tensors.find("down_blocks.0.attentions.0.proj_in.weight");
  const bool old = projection != tensors.end() && projection->second.dim() == 4;
  Json config =
      unet_config_of(tensors, old ? std::optional(kOldHeads) : std::nullopt, kPooled, kTimeIds);
  for (const char* key :
       {"_class_name", "out_channels", "up_block_types", "reverse_transformer_layers_per_block"})
    config.erase(key);
  const std::string hint = "controlnet_cond_embedding.";
  Json widths = Json::array();
  const auto add = [&](const std::string& name) {
    const auto found = tensors.find(name);
    if (found != tensors.end() && found->second.dim() == 4) widths.push_back(found->second.size(0));
  };
  add(hint + "conv_in.weight");
  for (int64_t i = 1;
       i < 2 * kMaxZeros && has(tensors, hint + "blocks." + std::to_string(i) + ".weight"); i += 2)
    add(hint + "blocks." + std::to_string(i) + ".weight");
  config["conditioning_embedding_out_channels"] = widths;
  return config;
}

[[noreturn]] void refuse_control_net(const fs::path& path, const std::string& found) {
  throw Error(path.string() + ": got " + found +
              ", expected a ControlNet: a folder with config.json, or one file of weights.");
}

Component component_of(const fs::path& path, bool half) {
  if (!fs::exists(path)) refuse_control_net(path, "no such file or folder");
  if (fs::is_directory(path)) {
    if (!fs::is_regular_file(path / "config.json"))
      refuse_control_net(path, "a folder without config.json");
    return component_in(path, half);
  }
  const fs::path config = path.parent_path() / "config.json";
  TensorFile file = map_tensors(path);
  if (fs::is_regular_file(config)) {
    Json json = read_json_object(config);
    if (json.value("_class_name", Json()) == "ControlNetModel")
      return {std::move(json), path.string(), file.tensors};
  }
  const auto is_difference = [](const auto& tensor) { return tensor.first == "difference"; };
  if (std::any_of(file.tensors.begin(), file.tensors.end(), is_difference))
    refuse_control_net(path, "a ControlNet of differences from a model");
  const TensorMap tensors = diffusers_tensors(std::move(file));
  if (!has(tensors, "controlnet_mid_block.weight"))
    refuse_control_net(path, "weights of something else");
  return {config_of(tensors), path.string(), {tensors.begin(), tensors.end()}};
}

std::string width_text(const UNet2DConfig& config) {
  std::string text;
  for (const auto& stage : config.down)
    text += (text.empty() ? "" : ", ") + std::to_string(stage.channels);
  return text;
}

bool same_way_down(const UNet2DConfig& a, const UNet2DConfig& b) {
  return std::equal(a.down.begin(), a.down.end(), b.down.begin(), b.down.end(),
                    [](const UNet2DStage& x, const UNet2DStage& y) {
                      return x.channels == y.channels && x.resnets == y.resnets;
                    });
}

/// Told by the family's name where there is one, else by the widths.
void require_family(const fs::path& path, const UNet2DConfig& own, const UNet2DConfig& model) {
  const std::string mine = family_of_context(own.context_channels),
                    wanted = family_of_context(model.context_channels);
  if (own.context_channels != model.context_channels && !mine.empty() && !wanted.empty())
    throw Error(path.string() + ": this ControlNet is " + mine + ", the model is " + wanted + ".");
  if (own.context_channels != model.context_channels)
    throw Error(path.string() + ": got a ControlNet that reads text of width " +
                std::to_string(own.context_channels) + ", expected the model's " +
                std::to_string(model.context_channels) + ".");
  if (!same_way_down(own, model) || own.added_channels != model.added_channels)
    throw Error(path.string() + ": got a ControlNet of widths " + width_text(own) +
                ", expected the model's " + width_text(model) + ", with as many layers.");
}

}  // namespace

std::shared_ptr<const ControlNet> load_control_net(const fs::path& path, const Json& unet,
                                                   at::ScalarType dtype, at::Device device) {
  Component component = component_of(path, dtype != at::kFloat);
  const UNet2DConfig model = unet2d_config(unet);
  require_family(path, ControlNet::read_config(component.config), model);
  Weights weights({std::move(component.tensors), {}}, component.file, dtype, device);
  auto net = std::make_shared<ControlNet>(component.config, weights);
  weights.finish();
  return net;
}

}  // namespace tiller
