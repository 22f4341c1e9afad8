#pragma once
#include <nlohmann/json.hpp>

#include "models/clip_layer.h"

namespace tiller {

/// What CLIP makes of images. In float32.
struct ImageStates {
  Tensor pooled;  ///< (B, P): the class token's last state, normed and projected.
  Tensor states;  ///< (B, N, D): all tokens' states before the last layer.
};

/// transformers' CLIPVisionModelWithProjection: patches of an image and a class token through
/// layers of self-attention.
class ClipVision {
 public:
  /// Throws Error naming keys that are malformed or not supported. Call weights.finish()
  /// afterwards.
  ClipVision(const nlohmann::json& config, Weights&);

  int64_t image_size() const { return image_size_; }
  int64_t channels() const { return layer_.channels; }
  int64_t projection() const { return projection_.weight.size(0); }
  /// pixels: (B, 3, S, S) as `clip_pixels` gives them, S = image_size().
  ImageStates encode(const Tensor& pixels) const;

 private:
  ClipLayerOptions layer_;
  int64_t image_size_ = 0;
  Tensor class_token_, positions_;
  Conv2d patches_;
  LayerNorm norm_in_, norm_out_;
  std::vector<ClipLayer> layers_;
  Linear projection_;
};

/// As transformers' CLIPImageProcessor: (3, H, W) uint8, its shorter side scaled to `size` by
/// Pillow's bicubic filter, the centre cropped, in CLIP's normalisation: (1, 3, size, size).
Tensor clip_pixels(const Tensor& image, int64_t size);

}  // namespace tiller
