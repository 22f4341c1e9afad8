#include "metrics/structure_distance.h"

#include <ATen/ATen.h>

#include <cmath>

#include "io/error.h"
#include "metrics/normalise.h"

namespace tiller {
namespace {

constexpr double norm_eps = 1e-6;
constexpr int64_t head_channels = 64, most_vit_blocks = 64;
constexpr double mean[] = {0.485, 0.456, 0.406}, deviation[] = {0.229, 0.224, 0.225};

/// Training wraps the network: "module.backbone.blocks.0..." is "blocks.0...".
TensorFile plain_vit_names(TensorFile file) {
  TensorFile plain;
  for (auto& [name, tensor] : file.tensors) {
    std::string rest = name;
    for (const std::string wrap : {"module.", "backbone."})
      if (rest.starts_with(wrap)) rest.erase(0, wrap.size());
    if (!rest.starts_with("head.")) plain.tensors.emplace_back(rest, std::move(tensor));
  }
  return plain;
}

VitBlock take_block(Weights& weights, const std::string& name, int64_t channels) {
  const int64_t hidden = 4 * channels;
  VitBlock block;
  block.norm1 = take_layer_norm(weights, name + ".norm1", channels, norm_eps);
  block.qkv = take_linear(weights, name + ".attn.qkv", channels, 3 * channels);
  block.proj = take_linear(weights, name + ".attn.proj", channels, channels);
  block.norm2 = take_layer_norm(weights, name + ".norm2", channels, norm_eps);
  block.fc1 = take_linear(weights, name + ".mlp.fc1", channels, hidden);
  block.fc2 = take_linear(weights, name + ".mlp.fc2", hidden, channels);
  return block;
}

/// x: (1, N, C) to the same.
Tensor apply(const VitBlock& block, const Tensor& x, int64_t heads) {
  const auto qkv = block.qkv(block.norm1(x)).chunk(3, -1);
  const Tensor attended = at::scaled_dot_product_attention(
      split_heads(qkv[0], heads), split_heads(qkv[1], heads), split_heads(qkv[2], heads));
  const Tensor h = x + block.proj(merge_heads(attended));
  return h + block.fc2(at::gelu(block.fc1(block.norm2(h))));
}

}  // namespace

StructureDistance::StructureDistance(const fs::path& file, at::Device device)
    : StructureDistance(load_tensors(file), file.string(), device) {}

StructureDistance::StructureDistance(TensorFile tensors, const std::string& file, at::Device device)
    : device_(device) {
  Weights weights(plain_vit_names(std::move(tensors)), file, at::kFloat, device);
  const auto patch = weights.shape("patch_embed.proj.weight");
  const auto places = weights.shape("pos_embed");
  if (patch.size() != 4 || places.size() != 3)
    throw Error(file +
                ": got no vision transformer, expected DINO's state dict with "
                "patch_embed.proj.weight and pos_embed.");
  const int64_t channels = patch[0];
  const auto across = int64_t(std::lround(std::sqrt(double(std::max<int64_t>(1, places[1] - 1)))));
  side_ = across * patch[2];
  if (channels == 0 || channels % head_channels)
    throw Error(file + ": patch_embed.proj.weight: got " + std::to_string(channels) +
                " channels, expected a multiple of " + std::to_string(head_channels) + ".");
  heads_ = channels / head_channels;
  patches_ = take_conv(weights, "patch_embed.proj", 3, channels, patch[2], patch[2]);
  patches_.padding = 0;
  class_token_ = weights.take("cls_token", {1, 1, channels});
  positions_ = weights.take("pos_embed", {1, across * across + 1, channels});
  const auto name = [](int64_t i) { return "blocks." + std::to_string(i); };
  for (int64_t i = 0; i < most_vit_blocks && (i == 0 || weights.has(name(i) + ".norm1.weight"));
       ++i)
    blocks_.push_back(take_block(weights, name(i), channels));
  take_layer_norm(weights, "norm", channels);
  weights.finish();
}

Tensor StructureDistance::keys(const Tensor& image) const {
  const Tensor pixels = at::upsample_bilinear2d(image.unsqueeze(0).to(device_, at::kFloat),
                                                {side_, side_}, /*align_corners=*/false);
  const Tensor x = normalised(pixels, mean, deviation);
  const Tensor tokens = patches_(x).flatten(2).transpose(1, 2);
  Tensor h = at::cat({class_token_, tokens}, 1) + positions_;
  for (size_t i = 0; i + 1 < blocks_.size(); ++i) h = apply(blocks_[i], h, heads_);
  const VitBlock& last = blocks_.back();
  return last.qkv(last.norm1(h)).chunk(3, -1)[1][0];
}

Tensor StructureDistance::self_similarity(const Tensor& image) const {
  const Tensor k = keys(image);
  const Tensor norms = k.norm(2, 1, true);
  return k.matmul(k.t()) / norms.matmul(norms.t()).clamp_min(1e-8);
}

double StructureDistance::operator()(const Tensor& a, const Tensor& b) const {
  return (self_similarity(a) - self_similarity(b)).square().mean().item<double>();
}

}  // namespace tiller
