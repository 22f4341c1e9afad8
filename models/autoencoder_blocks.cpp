#include "models/autoencoder_blocks.h"

#include <ATen/ATen.h>

#include "models/attention.h"

namespace tiller {
namespace {

constexpr double kEps = 1e-6;

/// Takes blocks under the paths of diffusers.
class Builder {
 public:
  Builder(Weights& weights, const VaeShape& shape) : weights_(weights), shape_(shape) {}

  Conv2d conv(const std::string& name, int64_t in, int64_t out, int64_t kernel = 3) {
    return take_conv(weights_, name, in, out, kernel);
  }
  GroupNorm norm(const std::string& name, int64_t channels) {
    return take_group_norm(weights_, name, channels, shape_.norm_groups, kEps);
  }
  VaeResnet resnet(const std::string& name, int64_t in, int64_t out);
  VaeMid mid(const std::string& name, int64_t channels);
  /// Resnets `name`.0 and on; the first widens or narrows.
  std::vector<VaeResnet> resnets(const std::string& name, int64_t count, int64_t in, int64_t out);

 private:
  VaeAttention attention(const std::string& name, int64_t channels);
  Linear projection(const std::string& path, const char* name, const char* old, int64_t channels);

  Weights& weights_;
  const VaeShape& shape_;
};

VaeResnet Builder::resnet(const std::string& name, int64_t in, int64_t out) {
  VaeResnet block;
  block.norm1 = norm(name + ".norm1", in);
  block.conv1 = conv(name + ".conv1", in, out);
  block.norm2 = norm(name + ".norm2", out);
  block.conv2 = conv(name + ".conv2", out, out);
  if (in != out) block.shortcut = conv(name + ".conv_shortcut", in, out, 1);
  return block;
}

std::vector<VaeResnet> Builder::resnets(const std::string& name, int64_t count, int64_t in,
                                        int64_t out) {
  std::vector<VaeResnet> blocks;
  for (int64_t i = 0; i < count; ++i)
    blocks.push_back(resnet(name + "." + std::to_string(i), i ? out : in, out));
  return blocks;
}

/// Under its name of today or the one before diffusers 0.15, as a linear layer's weight or a 1x1
/// convolution's.
Linear Builder::projection(const std::string& path, const char* name, const char* old,
                           int64_t channels) {
  const std::string full = path + (weights_.has(path + old + ".weight") ? old : name);
  const bool is_conv = weights_.shape(full + ".weight").size() == 4;
  return take_linear(weights_, full, channels, channels, true, Init::uniform, is_conv ? 2 : 0);
}

VaeAttention Builder::attention(const std::string& name, int64_t channels) {
  VaeAttention block;
  block.norm = norm(name + ".group_norm", channels);
  block.q = projection(name, ".to_q", ".query", channels);
  block.k = projection(name, ".to_k", ".key", channels);
  block.v = projection(name, ".to_v", ".value", channels);
  block.out = projection(name, ".to_out.0", ".proj_attn", channels);
  return block;
}

VaeMid Builder::mid(const std::string& name, int64_t channels) {
  VaeMid block;
  if (shape_.mid_attention) block.attention = attention(name + ".attentions.0", channels);
  block.first = resnet(name + ".resnets.0", channels, channels);
  block.second = resnet(name + ".resnets.1", channels, channels);
  return block;
}

Tensor norm_silu(const GroupNorm& norm, const Tensor& x) { return cast_like(x, norm).silu(x); }
Tensor norm_silu(const GroupNorm& norm, const Unbiased& x) { return cast_like(x.x, norm).silu(x); }

/// conv(x) in the type of `x`, perhaps without its bias.
Unbiased unbiased(const Conv2d& conv, const Tensor& x) {
  return conv.weight.scalar_type() == x.scalar_type() ? conv.unbiased(x)
                                                      : cast_like(x, conv).unbiased(x);
}

/// Halves the size; the edge is padded at the right and bottom only.
Tensor downsample(const Conv2d& conv, const Tensor& x) {
  return apply(conv, at::constant_pad_nd(x, {0, 1, 0, 1}));
}

Tensor upsample(const Conv2d& conv, const Tensor& x) {
  return apply(conv, at::upsample_nearest2d(x, {2 * x.size(2), 2 * x.size(3)}));
}

}  // namespace

Tensor VaeResnet::operator()(const Tensor& x) const {
  const Unbiased h = unbiased(conv1, norm_silu(norm1, x));
  return residual_sum(shortcut ? unbiased(*shortcut, x) : Unbiased{x},
                      unbiased(conv2, norm_silu(norm2, h)));
}

Tensor VaeAttention::operator()(const Tensor& x) const {
  const Tensor tokens = to_tokens(apply(norm, x)).unsqueeze(1);
  const Tensor attended = attention(apply(q, tokens), apply(k, tokens), apply(v, tokens));
  return x + from_tokens(apply(out, attended.squeeze(1)), x.size(2), x.size(3));
}

Tensor VaeMid::operator()(const Tensor& x) const {
  const Tensor h = first(x);
  return second(attention ? (*attention)(h) : h);
}

Tensor VaeEncoder::operator()(const Tensor& x) const {
  Tensor h = apply(conv_in, x);
  for (const auto& stage : stages) {
    for (const auto& resnet : stage.resnets) h = resnet(h);
    if (stage.resample) h = downsample(*stage.resample, h);
  }
  return apply(conv_out, norm_silu(norm_out, mid(h)));
}

Tensor VaeDecoder::operator()(const Tensor& x) const {
  Tensor h = mid(apply(conv_in, x));
  for (const auto& stage : stages) {
    for (const auto& resnet : stage.resnets) h = resnet(h);
    if (stage.resample) h = upsample(*stage.resample, h);
  }
  return apply(conv_out, norm_silu(norm_out, h));
}

VaeEncoder take_vae_encoder(Weights& weights, const VaeShape& shape, int64_t in_channels,
                            int64_t out_channels) {
  Builder builder(weights, shape);
  const auto& channels = shape.channels;
  VaeEncoder encoder;
  encoder.conv_in = builder.conv("encoder.conv_in", in_channels, channels.front());
  for (size_t i = 0; i < channels.size(); ++i) {
    const std::string name = "encoder.down_blocks." + std::to_string(i);
    VaeStage stage;
    stage.resnets =
        builder.resnets(name + ".resnets", shape.layers, channels[i ? i - 1 : 0], channels[i]);
    if (i + 1 < channels.size()) {
      stage.resample = builder.conv(name + ".downsamplers.0.conv", channels[i], channels[i]);
      stage.resample->stride = 2;
      stage.resample->padding = 0;
    }
    encoder.stages.push_back(std::move(stage));
  }
  encoder.mid = builder.mid("encoder.mid_block", channels.back());
  encoder.norm_out = builder.norm("encoder.conv_norm_out", channels.back());
  encoder.conv_out = builder.conv("encoder.conv_out", channels.back(), out_channels);
  return encoder;
}

VaeDecoder take_vae_decoder(Weights& weights, const VaeShape& shape, int64_t in_channels,
                            int64_t out_channels) {
  Builder builder(weights, shape);
  const std::vector<int64_t> channels(shape.channels.rbegin(), shape.channels.rend());
  VaeDecoder decoder;
  decoder.conv_in = builder.conv("decoder.conv_in", in_channels, channels.front());
  for (size_t i = 0; i < channels.size(); ++i) {
    const std::string name = "decoder.up_blocks." + std::to_string(i);
    VaeStage stage;
    stage.resnets =
        builder.resnets(name + ".resnets", shape.layers, channels[i ? i - 1 : 0], channels[i]);
    if (i + 1 < channels.size())
      stage.resample = builder.conv(name + ".upsamplers.0.conv", channels[i], channels[i]);
    decoder.stages.push_back(std::move(stage));
  }
  decoder.mid = builder.mid("decoder.mid_block", channels.front());
  decoder.norm_out = builder.norm("decoder.conv_norm_out", channels.back());
  decoder.conv_out = builder.conv("decoder.conv_out", channels.back(), out_channels);
  return decoder;
}

}  // namespace tiller
