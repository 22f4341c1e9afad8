#include "metrics/efficientnet_lite.h"

#include <ATen/ATen.h>

namespace tiller {
namespace {

constexpr int64_t stem_width = 32, head_width = 1280, image_net_classes = 1000;

struct Stage {
  int64_t repeats, kernel, stride, expansion, out;
};
constexpr Stage stages[] = {{1, 3, 1, 1, 16}, {2, 3, 2, 6, 24},  {2, 5, 2, 6, 40},
                            {3, 3, 2, 6, 80}, {3, 5, 1, 6, 112}, {4, 5, 2, 6, 192},
                            {1, 3, 1, 6, 320}};

ConvNorm take(Weights& weights, const std::string& conv, const std::string& norm,
              ConvNormShape shape) {
  shape.eps = 1e-3;
  return take_conv_norm(weights, conv, norm, shape);
}

InvertedBottleneck take_block(Weights& weights, const std::string& name, const Stage& stage,
                              int64_t in, int64_t stride) {
  const int64_t wide = in * stage.expansion;
  InvertedBottleneck block;
  if (stage.expansion > 1)
    block.expand = take(weights, name + "_expand_conv", name + "_bn0", {in, wide, {1, 1}});
  ConvNormShape depthwise{wide, wide, {stage.kernel, stage.kernel}, stride};
  depthwise.groups = wide;
  block.depthwise = take(weights, name + "_depthwise_conv", name + "_bn1", depthwise);
  block.project = take(weights, name + "_project_conv", name + "_bn2", {wide, stage.out, {1, 1}});
  block.skip = stride == 1 && in == stage.out;
  return block;
}

/// Zeros before and after a side of `size`, as TensorFlow's padding "SAME" has them.
std::pair<int64_t, int64_t> same_padding(int64_t size, int64_t kernel, int64_t stride) {
  const int64_t out = (size + stride - 1) / stride;
  const int64_t all = std::max<int64_t>(0, (out - 1) * stride + kernel - size);
  return {all / 2, all - all / 2};
}

Tensor same_padded(const ConvNorm& conv, const Tensor& x) {
  const auto [top, bottom] = same_padding(x.size(2), conv.weight.size(2), conv.stride[0]);
  const auto [left, right] = same_padding(x.size(3), conv.weight.size(3), conv.stride[1]);
  if (top == bottom && left == right)
    return at::conv2d(x, conv.weight, conv.bias, conv.stride, {top, left}, 1, conv.groups);
  return conv(at::constant_pad_nd(x, {left, right, top, bottom}));
}

/// ReLU6.
Tensor capped(const Tensor& x) { return x.clamp_(0, 6); }

Tensor apply(const InvertedBottleneck& block, const Tensor& x) {
  Tensor h = block.expand.weight.defined() ? capped(block.expand(x)) : x;
  h = block.project(capped(same_padded(block.depthwise, h)));
  return block.skip ? h.add_(x) : h;
}

}  // namespace

EfficientNetLite::EfficientNetLite(TensorFile tensors, const std::string& file, at::Device device) {
  Weights weights(std::move(tensors), file, at::kFloat, device);
  stem_ = take(weights, "_conv_stem", "_bn0", {3, stem_width, {3, 3}, 2});
  int64_t in = stem_width;
  for (const auto& stage : stages)
    for (int64_t i = 0; i < stage.repeats; ++i) {
      const std::string name = "_blocks." + std::to_string(blocks_.size()) + ".";
      blocks_.push_back(take_block(weights, name, stage, in, i == 0 ? stage.stride : 1));
      in = stage.out;
    }
  head_ = take(weights, "_conv_head", "_bn1", {in, head_width, {1, 1}});
  classes_ = weights.take("_fc.weight", {image_net_classes, head_width});
  class_bias_ = weights.take("_fc.bias", {image_net_classes});
  weights.finish();
}

EfficientNetLite::Outputs EfficientNetLite::operator()(const Tensor& images) const {
  Tensor x = capped(same_padded(stem_, images.contiguous(at::MemoryFormat::ChannelsLast)));
  for (const auto& block : blocks_) x = apply(block, x);
  const Tensor pooled = capped(head_(x)).mean({2, 3});
  return {pooled, at::linear(pooled, classes_, class_bias_)};
}

}  // namespace tiller
