#include "models/clip_vision.h"

#include <ATen/ATen.h>

#include "io/resample.h"
#include "models/config_reader.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxVisionChannels = 1 << 14;
constexpr int64_t kMaxSide = 4096;
constexpr double kMean[] = {0.48145466, 0.4578275, 0.40821073};
constexpr double kDeviation[] = {0.26862954, 0.26130258, 0.27577711};

/// A whole CLIP's config has one for images inside.
const Json& vision_part(const Json& config) {
  const auto inside = config.find("vision_config");
  return inside != config.end() && inside->is_object() ? *inside : config;
}

ClipLayerOptions layer_options(ConfigReader& reader) {
  ClipLayerOptions layer;
  layer.channels = reader.integer("hidden_size", 768, 1, kMaxVisionChannels);
  layer.feed_forward = reader.integer("intermediate_size", 3072, 1, 8 * kMaxVisionChannels);
  layer.heads = reader.integer("num_attention_heads", 12, 1, kMaxVisionChannels);
  layer.norm_eps = reader.number("layer_norm_eps", 1e-5, 0, 1);
  layer.quick_gelu = reader.word("hidden_act", {"quick_gelu", "gelu"}) == "quick_gelu";
  if (layer.channels % layer.heads)
    config_error("num_attention_heads", layer.heads,
                 "a number that divides hidden_size = " + std::to_string(layer.channels));
  return layer;
}

}  // namespace

ClipVision::ClipVision(const Json& json, Weights& weights) {
  ConfigReader reader(vision_part(json));
  layer_ = layer_options(reader);
  reader.refuse("num_channels", 3);
  image_size_ = reader.integer("image_size", 224, 1, kMaxSide);
  const int64_t patch = reader.integer("patch_size", 32, 1, image_size_);
  const int64_t layers = reader.integer("num_hidden_layers", 12, 1, 256);
  const int64_t projection = reader.integer("projection_dim", 512, 1, kMaxVisionChannels);
  const int64_t side = image_size_ / patch, channels = layer_.channels;
  const std::string model = "vision_model.", embeddings = model + "embeddings.";
  class_token_ = weights.take(embeddings + "class_embedding", {channels}, Init::normal);
  patches_ = take_conv(weights, embeddings + "patch_embedding", 3, channels, patch, patch,
                       Init::uniform, false);
  patches_.padding = 0;
  positions_ = weights.take(embeddings + "position_embedding.weight", {side * side + 1, channels},
                            Init::normal);
  weights.ignore(embeddings + "position_ids");
  norm_in_ = take_layer_norm(weights, model + "pre_layrnorm", channels, layer_.norm_eps);
  for (int64_t i = 0; i < layers; ++i)
    layers_.push_back(
        take_clip_layer(weights, model + "encoder.layers." + std::to_string(i), layer_));
  norm_out_ = take_layer_norm(weights, model + "post_layernorm", channels, layer_.norm_eps);
  projection_ = take_linear(weights, "visual_projection", channels, projection, false);
}

ImageStates ClipVision::encode(const Tensor& pixels) const {
  const Tensor x = pixels.to(patches_.weight.device(), patches_.weight.scalar_type());
  const Tensor patches = patches_(x).flatten(2).transpose(1, 2);
  const Tensor first = class_token_.expand({x.size(0), 1, -1});
  Tensor states = norm_in_(at::cat({first, patches}, 1) + positions_);
  for (size_t i = 0; i + 1 < layers_.size(); ++i) states = layers_[i](states, /*causal=*/false);
  const Tensor last = layers_.back()(states, false).select(1, 0);
  return {projection_(norm_out_(last)).to(at::kFloat), states.to(at::kFloat)};
}

Tensor clip_pixels(const Tensor& image, int64_t size) {
  const int64_t height = image.size(1), width = image.size(2), shorter = std::min(height, width);
  const Tensor scaled = resample_bicubic(image, size * height / shorter, size * width / shorter);
  const Tensor centre = scaled.narrow(1, (scaled.size(1) - size) / 2, size)
                            .narrow(2, (scaled.size(2) - size) / 2, size);
  const auto channel = [](const double(&values)[3]) {
    return at::tensor(at::ArrayRef<double>(values), at::kFloat).view({1, 3, 1, 1});
  };
  return (centre.unsqueeze(0).to(at::kFloat) / 255 - channel(kMean)) / channel(kDeviation);
}

}  // namespace tiller
