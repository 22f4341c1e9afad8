#include "metrics/cifar_resnet.h"

#include <ATen/ATen.h>

namespace tiller {
namespace {

constexpr int64_t classes = 10, most_blocks = 64;
constexpr int64_t widths[] = {16, 32, 64};

/// Training on several devices put "module." before each name.
TensorFile plain_names(TensorFile file) {
  const std::string wrap = "module.";
  for (auto& [name, tensor] : file.tensors)
    if (name.starts_with(wrap)) name.erase(0, wrap.size());
  return file;
}

ConvNorm take_3x3(Weights& weights, const std::string& block, const std::string& number, int64_t in,
                  int64_t out, int64_t stride) {
  return take_conv_norm(weights, block + "conv" + number, block + "bn" + number,
                        {in, out, {3, 3}, stride, {1, 1}});
}

/// Every second pixel, and zeros for channels that there weren't.
Tensor shortcut(const Tensor& x, int64_t channels) {
  if (x.size(1) == channels) return x;
  const int64_t more = (channels - x.size(1)) / 2;
  return at::constant_pad_nd(x.slice(2, 0, INT64_MAX, 2).slice(3, 0, INT64_MAX, 2),
                             {0, 0, 0, 0, more, more});
}

}  // namespace

CifarResNet::CifarResNet(TensorFile tensors, const std::string& file, at::Device device) {
  Weights weights(plain_names(std::move(tensors)), file, at::kFloat, device);
  stem_ = take_3x3(weights, "", "1", 3, widths[0], 1);
  int64_t in = widths[0];
  for (int stage = 0; stage < 3; ++stage)
    for (int64_t i = 0; i < most_blocks; ++i) {
      const std::string name = "layer" + std::to_string(stage + 1) + "." + std::to_string(i) + ".";
      if (i > 0 && !weights.has(name + "conv1.weight")) break;
      const int64_t out = widths[stage], stride = out == in ? 1 : 2;
      blocks_.emplace_back(take_3x3(weights, name, "1", in, out, stride),
                           take_3x3(weights, name, "2", out, out, 1));
      in = out;
    }
  classes_ = weights.take("linear.weight", {classes, in});
  class_bias_ = weights.take("linear.bias", {classes});
  weights.finish();
}

CifarResNet::Outputs CifarResNet::operator()(const Tensor& images) const {
  Tensor x = stem_(images.contiguous(at::MemoryFormat::ChannelsLast)).relu_();
  for (const auto& [first, second] : blocks_) {
    const Tensor h = second(first(x).relu_());
    x = (h + shortcut(x, h.size(1))).relu_();
  }
  const Tensor pooled = x.mean({2, 3});
  return {pooled, at::linear(pooled, classes_, class_bias_)};
}

}  // namespace tiller
