#include "models/unet2d_blocks.h"

#include <ATen/ATen.h>

#include "models/recompute.h"
#include "models/shortcut.h"

namespace tiller {

Tensor Resnet2D::operator()(Rows& rows, const Tensor& x, const Tensor& time_embedding) const {
  const Unbiased first = conv1.unbiased(rows, norm1.silu(x));
  const Tensor projected = time(rows, time_embedding);
  const Tensor h = scale_shift ? norm2.silu(first, projected) : norm2.silu_of_sum(first, projected);
  Unbiased second = conv2.unbiased(rows, at::dropout(h, dropout, rows.training()));
  second.x = rows.features(up_index, second.x);
  const Tensor sum = add_to_shortcut(rows, shortcut, x, second);
  return output_scale == 1 ? sum : sum / output_scale;
}

UNet2DBuilder::UNet2DBuilder(const UNet2DConfig& config, Weights& weights)
    : config_(config), weights_(weights), channels_(config.down.front().channels) {
  skips_.push_back(channels_);
}

Resnet2D UNet2DBuilder::take_resnet(const std::string& name, int64_t in, int64_t out,
                                    double output_scale) {
  Resnet2D block;
  const auto norm = [&](const std::string& which, int64_t channels) {
    return take_group_norm(weights_, name + which, channels, config_.norm_groups, config_.norm_eps);
  };
  block.norm1 = norm(".norm1", in);
  block.conv1 = take_conv(weights_, name + ".conv1", in, out, 3);
  block.time = take_linear(weights_, name + ".time_emb_proj", config_.time_channels,
                           config_.scale_shift ? 2 * out : out);
  block.norm2 = norm(".norm2", out);
  block.conv2 = take_conv(weights_, name + ".conv2", out, out, 3);
  if (in != out) block.shortcut = take_conv(weights_, name + ".conv_shortcut", in, out, 1);
  block.scale_shift = config_.scale_shift;
  block.dropout = config_.dropout;
  block.output_scale = output_scale;
  return block;
}

Transformer2D UNet2DBuilder::take_stack(const std::string& name, const UNet2DStage& stage,
                                        size_t index, Part part) {
  const std::string path = name + ".attentions." + std::to_string(index);
  std::vector<Site> sites;
  for (int64_t i = 0; i < stage.depths[index]; ++i)
    sites.push_back({path + ".transformer_blocks." + std::to_string(i), part,
                     counted_[static_cast<int>(part)]++,
                     static_cast<int>(sites_.size() + sites.size()), stacks_, downscale_,
                     static_cast<int>(stage.heads)});
  ++stacks_;
  sites_.insert(sites_.end(), sites.begin(), sites.end());
  return take_transformer2d(weights_, path, sites,
                            {stage.channels, stage.heads, config_.context_channels,
                             config_.norm_groups, config_.linear_projection});
}

void UNet2DBuilder::take_down(size_t index, std::vector<UNet2DLayer>& layers) {
  const std::string name = "down_blocks." + std::to_string(index);
  const UNet2DStage& stage = config_.down[index];
  for (int64_t i = 0; i < stage.resnets; ++i) {
    layers.push_back(
        {take_resnet(name + ".resnets." + std::to_string(i), channels_, stage.channels)});
    if (!stage.depths.empty()) layers.back().attention = take_stack(name, stage, i, Part::down);
    channels_ = stage.channels;
    skips_.push_back(channels_);
  }
  if (index + 1 == config_.down.size()) return;
  Conv2d halving = take_conv(weights_, name + ".downsamplers.0.conv", channels_, channels_, 3, 2);
  if (!config_.pad_before_downsampling) halving.padding = 0;
  layers.push_back({.resnet = {}, .resample = std::move(halving)});
  downscale_ *= 2;
  skips_.push_back(channels_);
}

std::vector<UNet2DLayer> UNet2DBuilder::take_down() {
  std::vector<UNet2DLayer> layers;
  for (size_t i = 0; i < config_.down.size(); ++i) take_down(i, layers);
  return layers;
}

std::vector<UNet2DLayer> UNet2DBuilder::take_mid() {
  std::vector<UNet2DLayer> layers;
  if (!config_.mid) return layers;
  const std::string name = "mid_block";
  const UNet2DStage& stage = *config_.mid;
  for (int64_t i = 0; i < stage.resnets; ++i) {
    layers.push_back({take_resnet(name + ".resnets." + std::to_string(i), channels_, channels_,
                                  config_.mid_scale)});
    if (i == 0 && !stage.depths.empty())
      layers.back().attention = take_stack(name, stage, i, Part::mid);
  }
  return layers;
}

void UNet2DBuilder::take_up(size_t index, std::vector<UNet2DLayer>& layers) {
  const std::string name = "up_blocks." + std::to_string(index);
  const UNet2DStage& stage = config_.up[index];
  for (int64_t i = 0; i < stage.resnets; ++i) {
    layers.push_back({take_resnet(name + ".resnets." + std::to_string(i), channels_ + skips_.back(),
                                  stage.channels)});
    layers.back().resnet->up_index = up_resnets_++;
    layers.back().place = {static_cast<int>(index), config_.down.front().channels};
    if (!stage.depths.empty()) layers.back().attention = take_stack(name, stage, i, Part::up);
    channels_ = stage.channels;
    skips_.pop_back();
  }
  if (index + 1 == config_.up.size()) return;
  layers.back().resample =
      take_conv(weights_, name + ".upsamplers.0.conv", channels_, channels_, 3);
  downscale_ /= 2;
}

std::vector<UNet2DLayer> UNet2DBuilder::take_up() {
  std::vector<UNet2DLayer> layers;
  for (size_t i = 0; i < config_.up.size(); ++i) take_up(i, layers);
  return layers;
}

namespace {

Tensor run_blocks(const UNet2DLayer& layer, Rows& rows, Tensor x, const Tensor& time) {
  x = recomputed(std::cref(*layer.resnet), rows, x, rows.expand(time));
  return layer.attention ? (*layer.attention)(rows, x) : x;
}

}  // namespace

Tensor run_down(const UNet2DLayer& layer, Rows& rows, const Tensor& x, const Tensor& time) {
  if (!layer.resample) return run_blocks(layer, rows, x, time);
  const bool padded = layer.resample->padding != 0;
  return (*layer.resample)(rows, padded ? x : at::constant_pad_nd(x, {0, 1, 0, 1}));
}

Tensor run_mid(const std::vector<UNet2DLayer>& layers, Rows& rows, Tensor x, const Tensor& time) {
  for (const auto& layer : layers) x = run_blocks(layer, rows, x, time);
  return x;
}

Tensor run_up(const UNet2DLayer& layer, Rows& rows, const Tensor& x, const Tensor& time,
              Skips& skips) {
  const Tensor h = run_blocks(layer, rows, with_skip(rows, layer.place, x, skips), time);
  if (!layer.resample) return h;
  const Tensor& next = skips.back();
  return (*layer.resample)(rows, at::upsample_nearest2d(h, {next.size(2), next.size(3)}));
}

}  // namespace tiller
