#include "models/edm_blocks.h"

#include <ATen/ATen.h>

#include <cmath>

#include "models/config_reader.h"
#include "models/joined_heads.h"
#include "models/shortcut.h"

namespace tiller::edm {
namespace {

Tensor scaled(const Tensor& x, double scale) { return scale == 1 ? x : x * scale; }

double sum_scale(const EdmConfig& config) { return config.dhariwal ? 1 : std::sqrt(0.5); }

/// The filter, one copy a channel of x.
Tensor depthwise(const Tensor& kernel, const Tensor& x) {
  return kernel.repeat({x.size(1), 1, 1, 1});
}

}  // namespace

Filter make_filter(const std::vector<double>& taps, const Tensor& like) {
  if (taps.size() == 2 && taps[0] == taps[1]) return {};
  const Tensor row = at::tensor(taps, at::kDouble);
  const Tensor kernel = at::outer(row, row) / row.sum().square();
  return {kernel.to(like.device(), like.scalar_type()).unsqueeze(0).unsqueeze(0)};
}

Tensor Filter::down(const Tensor& x, int64_t padding) const {
  if (!kernel.defined()) return at::avg_pool2d(x, 2, 2);
  return at::conv2d(x, depthwise(kernel, x), {}, 2, padding, 1, x.size(1));
}

Tensor Filter::operator()(const Tensor& x, Resample resample) const {
  if (resample == Resample::none) return x;
  if (resample == Resample::down) return down(x, padding());
  if (!kernel.defined()) return at::upsample_nearest2d(x, {x.size(2) * 2, x.size(3) * 2}, 2.0, 2.0);
  return at::conv_transpose2d(x, depthwise(4 * kernel, x), {}, 2, padding(), 0, x.size(1));
}

Tensor DownConv::operator()(Rows& rows, const Tensor& x) const {
  return filter.down(conv(rows, x), 0);
}

DownConv take_down_conv(Weights& weights, const std::string& name, const EdmConfig& config,
                        int64_t in, int64_t out) {
  DownConv layer{take_conv(weights, name, in, out, 3), {}};
  layer.filter = make_filter(config.resample_filter, layer.conv.weight);
  layer.conv.padding += layer.filter.padding();
  return layer;
}

int64_t heads_of(const EdmConfig& config, int64_t channels) {
  return config.dhariwal ? channels / 64 : 1;
}

GroupNorm take_norm(Weights& weights, const std::string& name, const EdmConfig& config,
                    int64_t channels) {
  const int64_t groups = std::min<int64_t>(32, channels / 4);
  if (groups < 1 || channels % groups)
    config_error("model_channels", config.model_channels,
                 "one with which the " + std::to_string(channels) + " channels at " + name +
                     " fall into " + std::to_string(std::max<int64_t>(1, groups)) + " groups");
  return take_group_norm(weights, name, channels, groups, config.dhariwal ? 1e-5 : 1e-6);
}

Tensor Attention::operator()(Rows& rows, const Tensor& x) const {
  const int64_t height = x.size(2), width = x.size(3);
  const Tensor tokens = rows.enter(site, to_tokens(x));
  const Tensor normed = to_tokens(norm(from_tokens(tokens, height, width)));
  const HeadOrder order{{site.heads, -1, 3}, 2};
  const Tensor attended = merge_heads(rows.attention(site, normed, joined_heads(rows, qkv, order)));
  const Tensor result = rows.resume(scaled(rows.expand(tokens) + proj(rows, attended), scale));
  return from_tokens(rows.leave_stack(result), height, width);
}

Tensor Block::operator()(Rows& rows, const Tensor& x, const Tensor& embedded) const {
  const Unbiased first = conv0.unbiased(rows, filter(norm0.silu(x), resample));
  const Tensor projected = rows.expand(affine(rows, embedded));
  Tensor h = adaptive ? norm1.silu(first, projected) : norm1.silu_of_sum(first, projected);
  Unbiased second = conv1.unbiased(rows, h);
  second.x = rows.features(up_index, second.x);
  h = scaled(add_to_shortcut(rows, skip, filter(x, resample), second), scale);
  return attention ? (*attention)(rows, h) : h;
}

namespace {

Attention take_attention(Weights& weights, const std::string& name, const EdmConfig& config,
                         Site site, int64_t channels) {
  Attention attention;
  site.heads = static_cast<int>(heads_of(config, channels));
  if (channels % site.heads)
    config_error("model_channels", config.model_channels,
                 "one with which the " + std::to_string(channels) + " channels at " + name +
                     " fall into " + std::to_string(site.heads) + " heads");
  attention.site = std::move(site);
  attention.norm = take_norm(weights, name + ".norm2", config, channels);
  attention.qkv =
      take_token_linear(weights, name + ".qkv", channels, 3 * channels, true, Init::uniform, 2);
  attention.proj =
      take_token_linear(weights, name + ".proj", channels, channels, true, Init::zeros, 2);
  attention.scale = sum_scale(config);
  return attention;
}

}  // namespace

Block take_block(Weights& weights, const std::string& name, const EdmConfig& config,
                 BlockShape shape) {
  const int64_t in = shape.in, out = shape.out;
  Block block;
  block.resample = shape.resample;
  block.adaptive = config.dhariwal;
  block.scale = sum_scale(config);
  block.norm0 = take_norm(weights, name + ".norm0", config, in);
  block.conv0 = take_conv(weights, name + ".conv0", in, out, 3);
  block.affine =
      take_linear(weights, name + ".affine", config.model_channels * config.channel_mult_emb,
                  block.adaptive ? 2 * out : out);
  block.norm1 = take_norm(weights, name + ".norm1", config, out);
  block.conv1 = take_conv(weights, name + ".conv1", out, out, 3, 1, Init::zeros);
  const bool projects = !config.dhariwal && shape.resample != Resample::none;
  if (in != out || projects) block.skip = take_conv(weights, name + ".skip", in, out, 1);
  block.filter = make_filter(config.resample_filter, block.conv0.weight);
  if (shape.site)
    block.attention = take_attention(weights, name, config, std::move(*shape.site), out);
  return block;
}

}  // namespace tiller::edm
