#pragma once
#include <nlohmann/json.hpp>

#include "models/clip_layer.h"

namespace tiller {

/// Keys of a CLIP text encoder's config.json.
struct ClipTextConfig {
  int64_t vocabulary = 0;
  int64_t positions = 0;  ///< Tokens of the longest text.
  int64_t layers = 0;
  ClipLayerOptions layer;
  int64_t projection = 0;  ///< Width of the pooled output's projection; 0: none.
  int64_t eos = 0;         ///< 2 stands for the highest id of a text, as in old configs.
};

/// What a text encoder makes of texts. All (B, ...) in float32.
struct TextStates {
  Tensor last;     ///< (B, L, D) the last layer's states after the final norm.
  Tensor context;  ///< (B, L, D) for SD1 and SD2: hidden_states[-(k + 1)] after the final norm.
  Tensor raw;      ///< (B, L, D) for SDXL: hidden_states[-(k + 2)], no norm.
  Tensor pooled;   ///< (B, D), or (B, P) where there is a projection: `last` at the end token.
};

/// transformers' CLIPTextModel and CLIPTextModelWithProjection (CLIP-L, OpenCLIP-H, OpenCLIP-bigG).
class ClipText {
 public:
  /// Takes the tensors with or without the prefix "text_model."; fresh ones have it. Throws Error
  /// naming keys that are malformed or not supported. Call weights.finish() afterwards.
  ClipText(const nlohmann::json& config, Weights&);

  const ClipTextConfig& config() const { return config_; }
  /// ids: (B, L) int64, L up to config().positions. clip_skip: k as diffusers counts it, layers
  /// left out at the end (0: none). extra: (n, D) embeddings of textual inversion, for the ids from
  /// config().vocabulary on. Throws Error when a length, an id or k is out of range. As in
  /// transformers, a text without an end token is pooled at its first token.
  TextStates encode(const Tensor& ids, int64_t clip_skip = 0, const Tensor& extra = {}) const;

 private:
  void check_input(const Tensor& ids, const Tensor& extra) const;
  Tensor embed(const Tensor& ids, const Tensor& extra) const;
  Tensor pool(const Tensor& last, const Tensor& ids) const;

  ClipTextConfig config_;
  Tensor tokens_, positions_;
  std::vector<ClipLayer> layers_;
  LayerNorm final_norm_;
  Linear projection_;
};

}  // namespace tiller
