#include "models/ldm_names.h"

#include <utility>
#include <vector>

namespace tiller {
namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

const Pairs kUNetEnds = {{"time_embed.0", "time_embedding.linear_1"},
                         {"time_embed.2", "time_embedding.linear_2"},
                         {"label_emb.0.0", "add_embedding.linear_1"},
                         {"label_emb.0.2", "add_embedding.linear_2"},
                         {"input_blocks.0.0", "conv_in"},
                         {"out.0", "conv_norm_out"},
                         {"out.2", "conv_out"}};
const Pairs kUNetResnet = {
    {".in_layers.0", ".norm1"},          {".in_layers.2", ".conv1"},
    {".emb_layers.1", ".time_emb_proj"}, {".out_layers.0", ".norm2"},
    {".out_layers.3", ".conv2"},         {".skip_connection", ".conv_shortcut"}};
const Pairs kVaeResnet = {{"", ""}, {".nin_shortcut", ".conv_shortcut"}};
const Pairs kVaeAttention = {{".norm", ".group_norm"},
                             {".q", ".to_q"},
                             {".k", ".to_k"},
                             {".v", ".to_v"},
                             {".proj_out", ".to_out.0"}};
const Pairs kOpenClipEnds = {
    {"token_embedding", "text_model.embeddings.token_embedding"},
    {"positional_embedding", "text_model.embeddings.position_embedding.weight"},
    {"ln_final", "text_model.final_layer_norm"},
    {"text_projection", "text_projection.weight"},
    {"text_projection.weight", "text_projection.weight"}};
const Pairs kOpenClipLayer = {{".ln_1", ".layer_norm1"},
                              {".ln_2", ".layer_norm2"},
                              {".mlp.c_fc", ".mlp.fc1"},
                              {".mlp.c_proj", ".mlp.fc2"},
                              {".attn", ".self_attn"}};

/// A name with a number for each '#'.
std::string numbered(std::string pattern, std::initializer_list<int64_t> numbers) {
  for (const int64_t number : numbers)
    pattern.replace(pattern.find('#'), 1, std::to_string(number));
  return pattern;
}

void add(NameMap& map, const std::string& from, const std::string& to, const Pairs& inside) {
  for (const auto& [ldm, diffusers] : inside) map[from + ldm] = to + diffusers;
}

}  // namespace

std::string renamed(const std::string& name, const NameMap& map, char separator) {
  for (size_t end = name.size(); end != std::string::npos && end > 0;
       end = name.rfind(separator, end - 1)) {
    const auto found = map.find(name.substr(0, end));
    if (found != map.end()) return found->second + name.substr(end);
  }
  return name;
}

NameMap ldm_unet_names(int64_t stages, int64_t layers) {
  NameMap map(kUNetEnds.begin(), kUNetEnds.end());
  for (int64_t stage = 0; stage < stages; ++stage) {
    const int64_t first = stage * (layers + 1) + 1;
    for (int64_t i = 0; i < layers; ++i) {
      add(map, numbered("input_blocks.#.0", {first + i}),
          numbered("down_blocks.#.resnets.#", {stage, i}), kUNetResnet);
      map[numbered("input_blocks.#.1", {first + i})] =
          numbered("down_blocks.#.attentions.#", {stage, i});
    }
    map[numbered("input_blocks.#.0.op", {first + layers})] =
        numbered("down_blocks.#.downsamplers.0.conv", {stage});
    for (int64_t i = 0; i <= layers; ++i) {
      const int64_t block = stage * (layers + 1) + i;
      add(map, numbered("output_blocks.#.0", {block}),
          numbered("up_blocks.#.resnets.#", {stage, i}), kUNetResnet);
      map[numbered("output_blocks.#.1", {block})] =
          numbered("up_blocks.#.attentions.#", {stage, i});
      for (int64_t place = 1; place <= 2; ++place)  // after the attention, where there is one
        map[numbered("output_blocks.#.#.conv", {block, place})] =
            numbered("up_blocks.#.upsamplers.0.conv", {stage});
    }
  }
  add(map, "middle_block.0", "mid_block.resnets.0", kUNetResnet);
  map["middle_block.1"] = "mid_block.attentions.0";
  add(map, "middle_block.2", "mid_block.resnets.1", kUNetResnet);
  return map;
}

NameMap ldm_vae_names(int64_t stages, int64_t layers) {
  NameMap map;
  for (const std::string side : {"encoder.", "decoder."}) {
    map[side + "norm_out"] = side + "conv_norm_out";
    for (int64_t i = 0; i < 2; ++i)
      add(map, side + numbered("mid.block_#", {i + 1}), side + numbered("mid_block.resnets.#", {i}),
          kVaeResnet);
    add(map, side + "mid.attn_1", side + "mid_block.attentions.0", kVaeAttention);
  }
  for (int64_t stage = 0; stage < stages; ++stage) {
    const int64_t up = stages - 1 - stage;
    for (int64_t i = 0; i < layers; ++i)
      add(map, numbered("encoder.down.#.block.#", {stage, i}),
          numbered("encoder.down_blocks.#.resnets.#", {stage, i}), kVaeResnet);
    for (int64_t i = 0; i <= layers; ++i)
      add(map, numbered("decoder.up.#.block.#", {up, i}),
          numbered("decoder.up_blocks.#.resnets.#", {stage, i}), kVaeResnet);
    map[numbered("encoder.down.#.downsample", {stage})] =
        numbered("encoder.down_blocks.#.downsamplers.0", {stage});
    map[numbered("decoder.up.#.upsample", {up})] =
        numbered("decoder.up_blocks.#.upsamplers.0", {stage});
  }
  return map;
}

NameMap open_clip_names(int64_t layers) {
  NameMap map(kOpenClipEnds.begin(), kOpenClipEnds.end());
  for (int64_t i = 0; i < layers; ++i)
    add(map, numbered("transformer.resblocks.#", {i}), numbered("text_model.encoder.layers.#", {i}),
        kOpenClipLayer);
  return map;
}

}  // namespace tiller
