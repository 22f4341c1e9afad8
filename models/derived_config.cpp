#include "models/derived_config.h"

#include <algorithm>

namespace tiller {
namespace {

using Json = nlohmann::json;
using Integers = std::vector<int64_t>;

constexpr int64_t kHeadChannels = 64, kNarrowHeadChannels = 16, kNarrowClipHeads = 4;

bool has_tensor(const TensorMap& tensors, const std::string& name) {
  return tensors.count(name) > 0;
}

/// A size of a tensor; 0 when it or the dimension isn't there.
int64_t size_of(const TensorMap& tensors, const std::string& name, int64_t dim) {
  const auto found = tensors.find(name);
  return found != tensors.end() && dim < found->second.dim() ? found->second.size(dim) : 0;
}

int64_t heads_for(int64_t channels, int64_t each) {
  int64_t heads = std::max<int64_t>(1, channels / each);
  while (channels % heads) --heads;
  return heads;
}

int64_t groups_for(const Integers& widths) {
  int64_t groups = 32;
  const auto divides = [&](int64_t width) { return width % groups == 0; };
  while (!std::all_of(widths.begin(), widths.end(), divides)) groups /= 2;
  return groups;
}

Integers depths_of(const TensorMap& tensors, const std::string& block) {
  Integers depths;
  const int64_t stacks = count_of(tensors, block + ".attentions.", ".norm.weight");
  for (int64_t i = 0; i < stacks; ++i)
    depths.push_back(count_of(tensors,
                              block + ".attentions." + std::to_string(i) + ".transformer_blocks.",
                              ".norm1.weight"));
  return depths;
}

bool is_uniform(const Integers& values) {
  return std::all_of(values.begin(), values.end(), [&](int64_t v) { return v == values[0]; });
}

/// One number where all stacks of a stage are equally deep; `usual` where there are none.
Json depth_entry(const Integers& depths, int64_t usual) {
  if (depths.empty()) return usual;
  return is_uniform(depths) ? Json(depths[0]) : Json(depths);
}

/// What diffusers assumes of the way up where the config doesn't say: the way down, reversed.
bool is_mirrored(const std::vector<Integers>& down, const std::vector<Integers>& up) {
  for (size_t i = 0; i < down.size(); ++i) {
    const Integers &below = down[down.size() - 1 - i], &above = up[i];
    if (below.empty() || above.empty()) continue;
    if (!is_uniform(below) || !is_uniform(above) || below[0] != above[0]) return false;
  }
  return true;
}

void describe_depths(Json& config, const TensorMap& tensors, size_t stages) {
  std::vector<Integers> down, up;
  for (size_t i = 0; i < stages; ++i) {
    down.push_back(depths_of(tensors, "down_blocks." + std::to_string(i)));
    up.push_back(depths_of(tensors, "up_blocks." + std::to_string(i)));
    config["down_block_types"].push_back(down[i].empty() ? "DownBlock2D" : "CrossAttnDownBlock2D");
    config["up_block_types"].push_back(up[i].empty() ? "UpBlock2D" : "CrossAttnUpBlock2D");
  }
  const Integers mid = depths_of(tensors, "mid_block");
  if (mid.empty()) config["mid_block_type"] = "UNetMidBlock2D";
  Json depths = Json::array(), reversed = Json::array();
  for (size_t i = 0; i < stages; ++i) {
    const bool last = i + 1 == stages;  // the mid block is as deep as the last entry says
    depths.push_back(depth_entry(down[i], last && !mid.empty() ? mid[0] : 1));
    reversed.push_back(depth_entry(up[i], 1));
  }
  config["transformer_layers_per_block"] = depths;
  if (!is_mirrored(down, up)) config["reverse_transformer_layers_per_block"] = reversed;
}

void describe_added(Json& config, const TensorMap& tensors, int64_t pooled, int64_t time_ids) {
  const int64_t added = size_of(tensors, "add_embedding.linear_1.weight", 1);
  if (!added) return;
  config["addition_embed_type"] = "text_time";
  config["addition_time_embed_dim"] = (added - pooled) / std::max<int64_t>(time_ids, 1);
  config["projection_class_embeddings_input_dim"] = added;
}

/// Stacks' projections are linear layers, or convolutions in the oldest models.
bool is_linear(const TensorMap& tensors) {
  for (const auto& [name, tensor] : tensors)
    if (name.ends_with(".proj_in.weight")) return tensor.dim() == 2;
  return false;
}

}  // namespace

int64_t count_of(const TensorMap& tensors, const std::string& before, const std::string& after,
                 int64_t limit) {
  int64_t count = 0;
  while (count < limit && has_tensor(tensors, before + std::to_string(count) + after)) ++count;
  return count;
}

int64_t context_width_of(const TensorMap& tensors) {
  for (const auto& [name, tensor] : tensors)
    if (name.ends_with("attn2.to_k.weight") && tensor.dim() == 2) return tensor.size(1);
  return 0;
}

Json unet_config_of(const TensorMap& tensors, std::optional<int64_t> heads, int64_t pooled,
                    int64_t time_ids) {
  Integers widths, layers, counts;
  const int64_t stages = count_of(tensors, "down_blocks.", ".resnets.0.conv1.weight");
  for (int64_t i = 0; i < stages; ++i) {
    const std::string block = "down_blocks." + std::to_string(i) + ".resnets.";
    widths.push_back(size_of(tensors, block + "0.conv1.weight", 0));
    layers.push_back(count_of(tensors, block, ".conv1.weight"));
    counts.push_back(heads
                         ? *heads
                         : heads_for(widths.back(), widths[0] < kHeadChannels ? kNarrowHeadChannels
                                                                              : kHeadChannels));
  }
  const int64_t context = context_width_of(tensors);
  Json config = {
      {"_class_name", "UNet2DConditionModel"},
      {"in_channels", size_of(tensors, "conv_in.weight", 1)},
      {"out_channels", size_of(tensors, "conv_out.weight", 0)},
      {"block_out_channels", widths},
      {"layers_per_block", is_uniform(layers) && stages ? Json(layers[0]) : Json(layers)},
      {"attention_head_dim", heads ? Json(*heads) : Json(counts)},
      {"cross_attention_dim", context ? context : 1280},
      {"use_linear_projection", is_linear(tensors)},
      {"norm_num_groups", groups_for(widths)}};
  const int64_t time = size_of(tensors, "time_embedding.linear_1.weight", 0);
  if (stages && time != 4 * widths[0]) config["time_embedding_dim"] = time;
  const int64_t guidance = size_of(tensors, "time_embedding.cond_proj.weight", 1);
  if (guidance) config["time_cond_proj_dim"] = guidance;
  describe_depths(config, tensors, widths.size());
  describe_added(config, tensors, pooled, time_ids);
  return config;
}

Json vae_config_of(const TensorMap& tensors) {
  Integers widths;
  const int64_t stages = count_of(tensors, "encoder.down_blocks.", ".resnets.0.conv1.weight");
  for (int64_t i = 0; i < stages; ++i)
    widths.push_back(size_of(
        tensors, "encoder.down_blocks." + std::to_string(i) + ".resnets.0.conv1.weight", 0));
  Json config = {
      {"_class_name", "AutoencoderKL"},
      {"in_channels", size_of(tensors, "encoder.conv_in.weight", 1)},
      {"out_channels", size_of(tensors, "decoder.conv_out.weight", 0)},
      {"latent_channels", size_of(tensors, "decoder.conv_in.weight", 1)},
      {"block_out_channels", widths},
      {"layers_per_block", count_of(tensors, "encoder.down_blocks.0.resnets.", ".conv1.weight")},
      {"down_block_types", std::vector<std::string>(widths.size(), "DownEncoderBlock2D")},
      {"up_block_types", std::vector<std::string>(widths.size(), "UpDecoderBlock2D")},
      {"norm_num_groups", groups_for(widths)}};
  if (!has_tensor(tensors, "quant_conv.weight")) config["use_quant_conv"] = false;
  if (!has_tensor(tensors, "post_quant_conv.weight")) config["use_post_quant_conv"] = false;
  if (!has_tensor(tensors, "encoder.mid_block.attentions.0.to_q.weight"))
    config["mid_block_add_attention"] = false;
  return config;
}

Json clip_config_of(const TensorMap& tensors, const std::string& activation) {
  const std::string embeddings = "text_model.embeddings.", layers = "text_model.encoder.layers.";
  const int64_t width = size_of(tensors, embeddings + "token_embedding.weight", 1);
  const int64_t projection = size_of(tensors, "text_projection.weight", 0);
  return {
      {"architectures", {projection ? "CLIPTextModelWithProjection" : "CLIPTextModel"}},
      {"model_type", "clip_text_model"},
      {"hidden_act", activation},
      {"hidden_size", width},
      {"intermediate_size", size_of(tensors, layers + "0.mlp.fc1.weight", 0)},
      {"num_attention_heads",
       heads_for(width, width < kHeadChannels ? std::max<int64_t>(1, width / kNarrowClipHeads)
                                              : kHeadChannels)},
      {"num_hidden_layers", count_of(tensors, layers, ".layer_norm1.weight")},
      {"max_position_embeddings", size_of(tensors, embeddings + "position_embedding.weight", 0)},
      {"vocab_size", size_of(tensors, embeddings + "token_embedding.weight", 0)},
      {"projection_dim", projection ? projection : width},
      {"layer_norm_eps", 1e-5},
      {"bos_token_id", 0},
      {"eos_token_id", 2},
      {"pad_token_id", 1}};
}

}  // namespace tiller
