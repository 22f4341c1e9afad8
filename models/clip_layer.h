#pragma once
#include "models/layers.h"

namespace tiller {

/// What all layers of a CLIP encoder have in common.
struct ClipLayerOptions {
  int64_t channels = 0;
  int64_t feed_forward = 0;  ///< Width of the hidden layer.
  int64_t heads = 1;
  double norm_eps = 1e-5;
  bool quick_gelu = true;  ///< x sigmoid(1.702 x), else GELU with erf.
};

/// transformers' CLIPEncoderLayer: self-attention and a feed-forward layer, each with a norm before
/// and a residual around it.
struct ClipLayer {
  LayerNorm norm1, norm2;
  Linear q, k, v, out, fc1, fc2;
  int64_t heads = 1;
  bool quick_gelu = true;
  /// x: (B, N, C) to the same. causal: tokens see those before them only.
  Tensor operator()(const Tensor& x, bool causal) const;
};

/// `name` is the layer's path, as "text_model.encoder.layers.0".
ClipLayer take_clip_layer(Weights&, const std::string& name, const ClipLayerOptions&);

}  // namespace tiller
