#include "models/clip_text.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "models/config_reader.h"

namespace tiller {
namespace {

constexpr int64_t kMaxTextChannels = 1 << 14;
constexpr int64_t kMaxVocabulary = 1 << 20;
/// An end token that is written as 2 means "the highest id of the text".
constexpr int64_t kLegacyEos = 2;

bool names_projection(const nlohmann::json& architectures) {
  return architectures.is_array() &&
         std::any_of(architectures.begin(), architectures.end(),
                     [](const auto& name) { return name == "CLIPTextModelWithProjection"; });
}

/// Unknown keys are let through: transformers writes dozens that say nothing about the network.
ClipTextConfig read_text_config(const nlohmann::json& json) {
  ConfigReader reader(json);
  ClipTextConfig config;
  config.vocabulary = reader.integer("vocab_size", 49408, 1, kMaxVocabulary);
  config.positions = reader.integer("max_position_embeddings", 77, 1, kMaxVocabulary);
  config.layers = reader.integer("num_hidden_layers", 12, 1, 256);
  config.layer.channels = reader.integer("hidden_size", 512, 1, kMaxTextChannels);
  config.layer.feed_forward = reader.integer("intermediate_size", 2048, 1, 8 * kMaxTextChannels);
  config.layer.heads = reader.integer("num_attention_heads", 8, 1, kMaxTextChannels);
  config.layer.norm_eps = reader.number("layer_norm_eps", 1e-5, 0, 1);
  config.layer.quick_gelu = reader.word("hidden_act", {"quick_gelu", "gelu"}) == "quick_gelu";
  config.projection = reader.integer("projection_dim", 512, 1, kMaxTextChannels);
  config.eos = reader.integer("eos_token_id", 49407, 0, kMaxVocabulary);
  if (config.layer.channels % config.layer.heads)
    config_error("num_attention_heads", config.layer.heads,
                 "a number that divides hidden_size = " + std::to_string(config.layer.channels));
  return config;
}

}  // namespace

ClipText::ClipText(const nlohmann::json& json, Weights& weights) : config_(read_text_config(json)) {
  const bool bare = weights.has("embeddings.token_embedding.weight");
  const std::string prefix = bare ? "" : "text_model.";
  const int64_t channels = config_.layer.channels;
  const auto embedding = [&](const std::string& name, int64_t rows) {
    return weights.take(prefix + "embeddings." + name + ".weight", {rows, channels}, Init::normal);
  };
  tokens_ = embedding("token_embedding", config_.vocabulary);
  positions_ = embedding("position_embedding", config_.positions);
  weights.ignore(prefix + "embeddings.position_ids");
  for (int64_t i = 0; i < config_.layers; ++i)
    layers_.push_back(
        take_clip_layer(weights, prefix + "encoder.layers." + std::to_string(i), config_.layer));
  final_norm_ =
      take_layer_norm(weights, prefix + "final_layer_norm", channels, config_.layer.norm_eps);
  const bool projects = json.contains("architectures") && names_projection(json["architectures"]);
  if (projects || weights.has("text_projection.weight"))
    projection_ = take_linear(weights, "text_projection", channels, config_.projection, false);
  else
    config_.projection = 0;
}

void ClipText::check_input(const Tensor& ids, const Tensor& extra) const {
  const int64_t length = ids.size(1), width = tokens_.size(1);
  if (length > config_.positions)
    throw Error("text encoder: got " + std::to_string(length) + " tokens, expected at most " +
                std::to_string(config_.positions) + ".");
  if (extra.defined() && extra.size(1) != width)
    throw Error("text encoder: got a textual inversion of width " + std::to_string(extra.size(1)) +
                ", expected " + std::to_string(width) +
                ": it was made for a model of another family.");
  const int64_t known = config_.vocabulary + (extra.defined() ? extra.size(0) : 0);
  if (ids.is_meta() || ids.numel() == 0) return;
  for (const int64_t id : {ids.min().item<int64_t>(), ids.max().item<int64_t>()})
    if (id < 0 || id >= known)
      throw Error("text encoder: got the token id " + std::to_string(id) + ", expected 0 to " +
                  std::to_string(known - 1) + ". Does the tokenizer belong to another model?");
}

Tensor ClipText::embed(const Tensor& ids, const Tensor& extra) const {
  const Tensor positions = positions_.slice(0, 0, ids.size(1));
  if (!extra.defined()) return at::embedding(tokens_, ids) + positions;
  const Tensor added = (ids - config_.vocabulary).clamp_min(0);
  const Tensor known = at::embedding(tokens_, ids.clamp_max(config_.vocabulary - 1));
  const Tensor is_added = ids.ge(config_.vocabulary).unsqueeze(2);
  return at::where(is_added, at::embedding(extra.to(tokens_), added), known) + positions;
}

/// The state at each text's first end token. The old rule, the highest id, is kept from mistaking
/// the ids of textual inversion for it.
Tensor ClipText::pool(const Tensor& last, const Tensor& ids) const {
  const Tensor rank = config_.eos == kLegacyEos ? ids.masked_fill(ids.ge(config_.vocabulary), -1)
                                                : ids.eq(config_.eos).to(at::kInt);
  const Tensor position = rank.argmax(1).view({-1, 1, 1}).expand({-1, 1, last.size(2)});
  const Tensor pooled = last.gather(1, position).squeeze(1);
  return config_.projection ? projection_(pooled) : pooled;
}

TextStates ClipText::encode(const Tensor& ids, int64_t clip_skip, const Tensor& extra) const {
  if (clip_skip < 0 || clip_skip >= config_.layers)
    throw UsageError("--clip-skip: got " + std::to_string(clip_skip) + ", expected 0 to " +
                     std::to_string(config_.layers - 1) + ".");
  check_input(ids, extra);
  std::vector<Tensor> hidden = {embed(ids, extra)};
  for (const auto& layer : layers_) hidden.push_back(layer(hidden.back(), true));
  const auto skip = static_cast<size_t>(clip_skip);
  const Tensor last = final_norm_(hidden.back());
  const Tensor context = skip ? final_norm_(hidden[hidden.size() - 1 - skip]) : last;
  const Tensor& raw = hidden[hidden.size() - 2 - skip];
  return {last.to(at::kFloat), context.to(at::kFloat), raw.to(at::kFloat),
          pool(last, ids).to(at::kFloat)};
}

}  // namespace tiller
