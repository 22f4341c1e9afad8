#include "models/unet2d_blocks.h"

#include <ATen/ATen.h>

#include "models/recompute.h"

namespace tiller {

Tensor Resnet2D::operator()(Rows& rows, const Tensor& x, const Tensor& time_embedding) const {
  Tensor h = conv1(rows, norm1.silu(x));
  const Tensor projected = time(rows, time_embedding);
  h = scale_shift ? norm2.silu(h, projected)
                  : norm2.silu(h + projected.unsqueeze(-1).unsqueeze(-1));
  h = rows.features(up_index, conv2(rows, at::dropout(h, dropout, rows.training())));
  const Tensor sum = rows.expand(shortcut ? (*shortcut)(rows, x) : x) + h;
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

UNet2DLayers UNet2DBuilder::take_down(size_t index) {
  const std::string name = "down_blocks." + std::to_string(index);
  const UNet2DStage& stage = config_.down[index];
  UNet2DLayers layers;
  for (int64_t i = 0; i < stage.resnets; ++i) {
    layers.resnets.push_back(
        take_resnet(name + ".resnets." + std::to_string(i), channels_, stage.channels));
    if (!stage.depths.empty()) layers.attentions.push_back(take_stack(name, stage, i, Part::down));
    channels_ = stage.channels;
    skips_.push_back(channels_);
  }
  if (index + 1 == config_.down.size()) return layers;
  layers.resample = take_conv(weights_, name + ".downsamplers.0.conv", channels_, channels_, 3, 2);
  if (!config_.pad_before_downsampling) layers.resample->padding = 0;
  downscale_ *= 2;
  skips_.push_back(channels_);
  return layers;
}

UNet2DLayers UNet2DBuilder::take_mid() {
  const std::string name = "mid_block";
  const UNet2DStage& stage = *config_.mid;
  UNet2DLayers layers;
  for (int64_t i = 0; i < stage.resnets; ++i) {
    layers.resnets.push_back(take_resnet(name + ".resnets." + std::to_string(i), channels_,
                                         channels_, config_.mid_scale));
    if (i == 0 && !stage.depths.empty())
      layers.attentions.push_back(take_stack(name, stage, i, Part::mid));
  }
  return layers;
}

UNet2DLayers UNet2DBuilder::take_up(size_t index) {
  const std::string name = "up_blocks." + std::to_string(index);
  const UNet2DStage& stage = config_.up[index];
  UNet2DLayers layers;
  for (int64_t i = 0; i < stage.resnets; ++i) {
    layers.resnets.push_back(take_resnet(name + ".resnets." + std::to_string(i),
                                         channels_ + skips_.back(), stage.channels));
    layers.resnets.back().up_index = up_resnets_++;
    if (!stage.depths.empty()) layers.attentions.push_back(take_stack(name, stage, i, Part::up));
    channels_ = stage.channels;
    skips_.pop_back();
  }
  if (index + 1 == config_.up.size()) return layers;
  layers.resample = take_conv(weights_, name + ".upsamplers.0.conv", channels_, channels_, 3);
  downscale_ /= 2;
  return layers;
}

Tensor run_down(const UNet2DLayers& layers, Rows& rows, Tensor x, const Tensor& time,
                std::vector<Tensor>& skips) {
  for (size_t i = 0; i < layers.resnets.size(); ++i) {
    x = recomputed(std::cref(layers.resnets[i]), rows, x, rows.expand(time));
    if (!layers.attentions.empty()) x = layers.attentions[i](rows, x);
    skips.push_back(x);
  }
  if (!layers.resample) return x;
  if (layers.resample->padding == 0) x = at::constant_pad_nd(x, {0, 1, 0, 1});
  x = (*layers.resample)(rows, x);
  skips.push_back(x);
  return x;
}

Tensor run_mid(const UNet2DLayers& layers, Rows& rows, Tensor x, const Tensor& time) {
  for (size_t i = 0; i < layers.resnets.size(); ++i) {
    x = recomputed(std::cref(layers.resnets[i]), rows, x, rows.expand(time));
    if (i < layers.attentions.size()) x = layers.attentions[i](rows, x);
  }
  return x;
}

Tensor run_up(const UNet2DLayers& layers, Rows& rows, Tensor x, const Tensor& time,
              std::vector<Tensor>& skips) {
  for (size_t i = 0; i < layers.resnets.size(); ++i) {
    x = at::cat({x, rows.expand(skips.back())}, 1);
    skips.pop_back();
    x = recomputed(std::cref(layers.resnets[i]), rows, x, rows.expand(time));
    if (!layers.attentions.empty()) x = layers.attentions[i](rows, x);
  }
  if (!layers.resample) return x;
  const Tensor& next = skips.back();
  return (*layers.resample)(rows, at::upsample_nearest2d(x, {next.size(2), next.size(3)}));
}

}  // namespace tiller
