#include "models/clip_layer.h"

#include <ATen/ATen.h>

namespace tiller {

Tensor ClipLayer::operator()(const Tensor& x, bool causal) const {
  const Tensor normed = norm1(x);
  const Tensor attended =
      at::scaled_dot_product_attention(split_heads(q(normed), heads), split_heads(k(normed), heads),
                                       split_heads(v(normed), heads), {}, 0, causal);
  const Tensor h = x + out(merge_heads(attended));
  const Tensor hidden = fc1(norm2(h));
  return h + fc2(quick_gelu ? hidden * at::sigmoid(1.702 * hidden) : at::gelu(hidden));
}

ClipLayer take_clip_layer(Weights& weights, const std::string& name,
                          const ClipLayerOptions& options) {
  const int64_t channels = options.channels;
  const auto norm = [&](const char* part) {
    return take_layer_norm(weights, name + part, channels, options.norm_eps);
  };
  const auto projection = [&](const char* part) {
    return take_linear(weights, name + ".self_attn." + part, channels, channels);
  };
  ClipLayer layer;
  layer.k = projection("k_proj");
  layer.v = projection("v_proj");
  layer.q = projection("q_proj");
  layer.out = projection("out_proj");
  layer.norm1 = norm(".layer_norm1");
  layer.fc1 = take_linear(weights, name + ".mlp.fc1", channels, options.feed_forward);
  layer.fc2 = take_linear(weights, name + ".mlp.fc2", options.feed_forward, channels);
  layer.norm2 = norm(".layer_norm2");
  layer.heads = options.heads;
  layer.quick_gelu = options.quick_gelu;
  return layer;
}

}  // namespace tiller
