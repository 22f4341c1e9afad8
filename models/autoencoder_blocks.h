#pragma once
/// Blocks of diffusers' AutoencoderKL. All compute in the type of their input; weights of another
/// type are cast on the fly.
#include <optional>

#include "models/layers.h"

namespace tiller {

/// Norm, SiLU and convolution twice, with a residual around.
struct VaeResnet {
  GroupNorm norm1, norm2;
  Conv2d conv1, conv2;
  std::optional<Conv2d> shortcut;
  Tensor operator()(const Tensor& x) const;
};

/// Attention of one head over an image's positions.
struct VaeAttention {
  GroupNorm norm;
  Linear q, k, v, out;
  Tensor operator()(const Tensor& x) const;
};

struct VaeMid {
  VaeResnet first, second;
  std::optional<VaeAttention> attention;  ///< Between them.
  Tensor operator()(const Tensor& x) const;
};

/// resample: after the resnets, halves (encoder) or doubles (decoder) height and width.
struct VaeStage {
  std::vector<VaeResnet> resnets;
  std::optional<Conv2d> resample;
};

/// (B, 3, H, W) to (B, 2 C, H / f, W / f): mean and log variance.
struct VaeEncoder {
  Conv2d conv_in, conv_out;
  std::vector<VaeStage> stages;
  VaeMid mid;
  GroupNorm norm_out;
  Tensor operator()(const Tensor& x) const;
};

/// (B, C, h, w) to (B, 3, h f, w f).
struct VaeDecoder {
  Conv2d conv_in, conv_out;
  VaeMid mid;
  std::vector<VaeStage> stages;
  GroupNorm norm_out;
  Tensor operator()(const Tensor& x) const;
};

struct VaeShape {
  std::vector<int64_t> channels;  ///< One a stage, largest images first.
  int64_t layers = 1;             ///< Resnets a stage.
  int64_t norm_groups = 32;
  bool mid_attention = true;
};

/// Take the tensors "encoder...." and "decoder....".
VaeEncoder take_vae_encoder(Weights&, const VaeShape&, int64_t in_channels, int64_t out_channels);
VaeDecoder take_vae_decoder(Weights&, const VaeShape&, int64_t in_channels, int64_t out_channels);

/// The layer with its tensors in the type of `x`.
template <typename Layer>
Layer cast_like(const Tensor& x, Layer layer) {
  layer.weight = layer.weight.to(x.scalar_type());
  if (layer.bias.defined()) layer.bias = layer.bias.to(x.scalar_type());
  return layer;
}

/// layer(x) in the type of `x`. A copy would lose what the layer packs: only a cast makes one.
template <typename Layer>
Tensor apply(const Layer& layer, const Tensor& x) {
  return layer.weight.scalar_type() == x.scalar_type() ? layer(x) : cast_like(x, layer)(x);
}

}  // namespace tiller
