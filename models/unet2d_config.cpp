#include "models/unet2d_config.h"

#include <algorithm>
#include <set>

#include "models/config_reader.h"

namespace tiller {
namespace {

using Json = nlohmann::json;
using Integers = std::vector<int64_t>;

constexpr int64_t kMaxChannels = 1 << 14;
constexpr int64_t kMaxUNetStages = 8;
constexpr int64_t kMaxDepth = 64;
constexpr int64_t kMaxClasses = 1 << 20;
constexpr int64_t kFewestTimeIds = 5;  ///< Of the SDXL refiner; SDXL has six.
const std::string kDepths = "transformer_layers_per_block";

void refuse_unsupported(ConfigReader& reader) {
  for (const char* key : {"class_embed_type", "encoder_hid_dim", "encoder_hid_dim_type",
                          "cross_attention_norm", "time_embedding_act_fn", "timestep_post_act"})
    reader.refuse(key, nullptr);
  for (const char* key : {"dual_cross_attention", "only_cross_attention", "resnet_skip_time_act",
                          "mid_block_only_cross_attention", "class_embeddings_concat"})
    reader.refuse(key, false);
  reader.refuse("resnet_out_scale_factor", 1);
  reader.refuse("attention_type", "default");
  reader.refuse("time_embedding_type", "positional");
  reader.word("_class_name", {"UNet2DConditionModel"});
  reader.word("act_fn", {"silu", "swish"});
}

/// Keys that change nothing here: scaled dot product attention keeps its scores in float32 anyway,
/// the size is only a default, and the heads belong to another addition_embed_type.
void read_harmless(ConfigReader& reader) {
  reader.flag("upcast_attention", false);
  reader.at("sample_size");
  reader.at("addition_embed_type_num_heads");
}

/// Depths of a stage's stacks: one integer for all or a list of one a stack.
Integers depths_from(const std::string& key, const Json& value, int64_t stacks) {
  if (!value.is_array()) return Integers(stacks, config_integer(key, value, 0, kMaxDepth));
  if (static_cast<int64_t>(value.size()) != stacks)
    config_error(key, value,
                 "an integer or a list of " + std::to_string(stacks) + " for that stage");
  Integers result;
  for (const auto& entry : value) result.push_back(config_integer(key, entry, 0, kMaxDepth));
  return result;
}

/// One entry a stage, an integer or a list.
std::vector<Json> depth_entries(const std::string& key, const Json& value, size_t stages) {
  if (!value.is_array()) return std::vector<Json>(stages, value.is_null() ? Json(1) : value);
  if (value.size() != stages)
    config_error(key, value, "an integer or a list of " + std::to_string(stages));
  return value.get<std::vector<Json>>();
}

struct Depths {
  std::vector<Json> down, up;
};

Depths read_depths(ConfigReader& reader, size_t stages) {
  const std::string reverse = "reverse_" + kDepths;
  Depths depths;
  depths.down = depth_entries(kDepths, reader.at(kDepths), stages);
  const Json& given = reader.at(reverse);
  depths.up = given.is_null() ? std::vector<Json>(depths.down.rbegin(), depths.down.rend())
                              : depth_entries(reverse, given, stages);
  const auto is_list = [](const Json& entry) { return entry.is_array(); };
  if (given.is_null() && std::any_of(depths.up.begin(), depths.up.end(), is_list))
    config_error(reverse, given, "a list, because " + kDepths + " has lists inside");
  return depths;
}

/// Whether each stage of a path attends to the text.
std::vector<bool> read_attention(ConfigReader& reader, const std::string& key,
                                 const std::string& plain, const std::vector<bool>& fallback,
                                 size_t stages) {
  const std::string cross = "CrossAttn" + plain;
  std::vector<std::string> usual;
  for (const bool attends : fallback) usual.push_back(attends ? cross : plain);
  const auto names = reader.words(key, usual);
  if (names.size() != stages)
    config_error(key, names, std::to_string(stages) + " names, as block_out_channels has");
  std::vector<bool> result;
  for (const auto& name : names) {
    if (name != plain && name != cross)
      config_error(key, name, cross + " or " + plain + " (nothing else is supported)");
    result.push_back(name == cross);
  }
  return result;
}

Integers read_channels(ConfigReader& reader) {
  const std::string key = "block_out_channels";
  const Json& value = reader.at(key);
  if (value.is_null()) return {320, 640, 1280, 1280};
  if (!value.is_array() || value.empty() || value.size() > size_t{kMaxUNetStages})
    config_error(key, value, "a list of at most " + std::to_string(kMaxUNetStages) + " integers");
  return reader.integers(key, 0, value.size(), kMaxChannels);
}

/// The key attention_head_dim has always held the number of heads.
Integers read_heads(ConfigReader& reader, size_t stages) {
  const Integers usual = reader.integers("attention_head_dim", 8, stages, kMaxChannels);
  const bool named = !reader.at("num_attention_heads").is_null();
  return named ? reader.integers("num_attention_heads", 8, stages, kMaxChannels) : usual;
}

std::optional<UNet2DStage> read_mid(ConfigReader& reader, const UNet2DStage& last,
                                    const Json& depth) {
  const std::string key = "mid_block_type";
  if (reader.has(key) && reader.at(key).is_null()) return std::nullopt;
  UNet2DStage stage{last.channels, 1, {}, last.heads};
  if (reader.word(key, {"UNetMidBlock2DCrossAttn", "UNetMidBlock2D"}) == "UNetMidBlock2D")
    return stage;
  const Json& first = depth.is_array() && !depth.empty() ? depth.front() : depth;
  stage.resnets = 2;
  stage.depths = {config_integer(kDepths, first, 0, kMaxDepth)};
  return stage;
}

void read_stages(ConfigReader& reader, UNet2DConfig& config) {
  const Integers channels = read_channels(reader);
  const size_t stages = channels.size();
  const Integers layers = reader.integers("layers_per_block", 2, stages, kMaxDepth);
  const Integers heads = read_heads(reader, stages);
  const Depths depths = read_depths(reader, stages);
  const auto down =
      read_attention(reader, "down_block_types", "DownBlock2D", {true, true, true, false}, stages);
  const auto up =
      read_attention(reader, "up_block_types", "UpBlock2D", {false, true, true, true}, stages);
  for (size_t i = 0; i < stages; ++i) {
    UNet2DStage stage{channels[i], layers[i], {}, heads[i]};
    if (down[i]) stage.depths = depths_from(kDepths, depths.down[i], stage.resnets);
    config.down.push_back(stage);
  }
  for (size_t i = 0; i < stages; ++i) {
    const size_t mirrored = stages - 1 - i;
    UNet2DStage stage{channels[mirrored], layers[mirrored] + 1, {}, heads[mirrored]};
    if (up[i]) stage.depths = depths_from(kDepths, depths.up[i], stage.resnets);
    config.up.push_back(stage);
  }
  config.mid = read_mid(reader, config.down.back(), depths.down.back());
}

/// The embedding of pooled text and time ids each (SDXL).
void read_added(ConfigReader& reader, UNet2DConfig& config) {
  const std::string type = "addition_embed_type", each = "addition_time_embed_dim",
                    total = "projection_class_embeddings_input_dim";
  const Json &each_value = reader.at(each), &total_value = reader.at(total);
  if (reader.at(type).is_null()) return;
  reader.word(type, {"text_time"});
  config.time_id_channels = config_integer(each, each_value, 2, kMaxChannels);
  const int64_t ids = kFewestTimeIds * config.time_id_channels;
  config.added_channels = config_integer(total, total_value, ids + 1, 8 * kMaxChannels);
}

void read_time(ConfigReader& reader, UNet2DConfig& config) {
  const int64_t width = config.down.front().channels;
  config.time_channels = reader.integer("time_embedding_dim", 4 * width, 1, 4 * kMaxChannels);
  config.sin_first = !reader.flag("flip_sin_to_cos", true);
  config.frequency_shift = reader.number("freq_shift", 0, -1e6, 1e6);
  config.class_embeddings = reader.integer("num_class_embeds", 0, 1, kMaxClasses);
  config.guidance_channels = reader.integer("time_cond_proj_dim", 0, 1, kMaxChannels);
  read_added(reader, config);
  if (width / 2 == config.frequency_shift)
    config_error("freq_shift", config.frequency_shift, "less than half of the first width");
}

void read_layers(ConfigReader& reader, UNet2DConfig& config) {
  config.in_channels = reader.integer("in_channels", 4, 1, kMaxChannels);
  config.out_channels = reader.integer("out_channels", 4, 1, kMaxChannels);
  const Integers context =
      reader.integers("cross_attention_dim", 1280, config.down.size(), 1 << 16);
  config.context_channels = context.front();
  if (std::set<int64_t>(context.begin(), context.end()).size() > 1)
    config_error("cross_attention_dim", context, "one width for all stages");
  config.norm_groups = reader.integer("norm_num_groups", 32, 1, kMaxChannels);
  config.norm_eps = reader.number("norm_eps", 1e-5, 0, 1);
  config.linear_projection = reader.flag("use_linear_projection", false);
  config.scale_shift =
      reader.word("resnet_time_scale_shift", {"default", "scale_shift"}) != "default";
  config.center_input = reader.flag("center_input_sample", false);
  config.mid_scale = reader.number("mid_block_scale_factor", 1, 1e-6, 1e6);
  config.dropout = reader.number("dropout", 0, 0, 1);
  config.pad_before_downsampling = reader.integer("downsample_padding", 1, 0, 1) == 1;
  config.conv_in_kernel = reader.integer("conv_in_kernel", 3, 1, 15);
  config.conv_out_kernel = reader.integer("conv_out_kernel", 3, 1, 15);
}

/// What group norms, heads and convolutions can divide.
void check_sizes(const UNet2DConfig& config) {
  for (const auto& stage : config.down) {
    if (stage.channels % config.norm_groups)
      config_error("block_out_channels", stage.channels,
                   "a multiple of norm_num_groups = " + std::to_string(config.norm_groups));
    if (stage.channels % stage.heads)
      config_error("attention_head_dim", stage.heads,
                   "a number of heads that divides " + std::to_string(stage.channels));
  }
  for (const auto& [key, kernel] : {std::pair("conv_in_kernel", config.conv_in_kernel),
                                    std::pair("conv_out_kernel", config.conv_out_kernel)})
    if (kernel % 2 == 0) config_error(key, kernel, "an odd number");
}

}  // namespace

UNet2DConfig unet2d_config(const Json& json) {
  ConfigReader reader(json);
  reader.refuse_null({"attention_head_dim", "cross_attention_dim", "norm_num_groups"});
  refuse_unsupported(reader);
  read_harmless(reader);
  UNet2DConfig config;
  read_stages(reader, config);
  read_time(reader, config);
  read_layers(reader, config);
  reader.finish("UNet2DConditionModel");
  check_sizes(config);
  return config;
}

std::pair<int64_t, int64_t> unet2d_sample_size(const nlohmann::json& config) {
  const auto found = config.find("sample_size");
  if (found == config.end() || found->is_null()) return {64, 64};
  const bool pair = found->is_array() && !found->empty();
  const auto side = [&](const nlohmann::json& json) {
    return config_integer("sample_size", json, 1, 1 << 16);
  };
  if (!pair) return {side(*found), side(*found)};
  return {side(found->front()), side(found->back())};
}

}  // namespace tiller
