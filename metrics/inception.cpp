#include "metrics/inception.h"

#include <ATen/ATen.h>

namespace tiller {
namespace {

using Pool = InceptionBlock::Pool;

struct Layer {
  std::string name;
  int64_t out, height = 1, width = 1, stride = 1;
};
using Layers = std::vector<Layer>;

constexpr size_t before_spatial = 6, before_768 = 7;  ///< Mixed_6d and Mixed_6e.
constexpr int64_t spatial_channels = 7, pooled_width = 2048, logit_width = 1008;

/// Takes blocks off the file, each as wide as the one before left it.
class Builder {
 public:
  explicit Builder(Weights& weights) : weights_(weights) {}

  ConvNorm conv(const std::string& name, ConvNormShape shape) {
    shape.eps = 1e-3;
    return take_conv_norm(weights_, name + ".conv", name + ".bn", shape);
  }

  std::vector<ConvNorm> stem() {
    const auto layer = [&](const std::string& name, int64_t in, int64_t out, int64_t kernel,
                           int64_t stride = 1, int64_t padding = 0) {
      return conv("Conv2d_" + name, {in, out, {kernel, kernel}, stride, {padding, padding}});
    };
    return {layer("1a_3x3", 3, 32, 3, 2), layer("2a_3x3", 32, 32, 3),
            layer("2b_3x3", 32, 64, 3, 1, 1), layer("3b_1x1", 64, 80, 1),
            layer("4a_3x3", 80, 192, 3)};
  }

  /// pooled: channels of the convolution behind the pooling; 0: none.
  InceptionBlock block(const std::string& name, const std::vector<Layers>& branches, Pool pool,
                       int64_t pooled) {
    name_ = "Mixed_" + name + ".branch";
    InceptionBlock block{.pool = pool};
    int64_t out = pooled ? pooled : in_;
    for (const auto& layers : branches) {
      block.branches.push_back(branch(layers));
      out += layers.back().out * (block.branches.back().split ? 2 : 1);
    }
    if (pooled) block.pooled = branch({{"_pool", pooled}});
    in_ = out;
    return block;
  }

 private:
  InceptionBranch branch(const Layers& layers) {
    InceptionBranch branch{.split = layers.back().name.ends_with("b")};
    int64_t in = in_;
    for (const auto& layer : layers) {
      const std::vector<int64_t> same = {layer.height / 2, layer.width / 2};
      branch.convolutions.push_back(
          conv(name_ + layer.name, {in,
                                    layer.out,
                                    {layer.height, layer.width},
                                    layer.stride,
                                    layer.stride == 1 ? same : std::vector<int64_t>{0, 0}}));
      if (!layer.name.ends_with("a")) in = layer.out;
    }
    return branch;
  }

  Weights& weights_;
  std::string name_;
  int64_t in_ = 192;
};

InceptionBlock block_35(Builder& build, const std::string& name, int64_t pooled) {
  return build.block(name,
                     {{{"1x1", 64}},
                      {{"5x5_1", 48}, {"5x5_2", 64, 5, 5}},
                      {{"3x3dbl_1", 64}, {"3x3dbl_2", 96, 3, 3}, {"3x3dbl_3", 96, 3, 3}}},
                     Pool::average, pooled);
}

InceptionBlock to_17(Builder& build) {
  return build.block("6a",
                     {{{"3x3", 384, 3, 3, 2}},
                      {{"3x3dbl_1", 64}, {"3x3dbl_2", 96, 3, 3}, {"3x3dbl_3", 96, 3, 3, 2}}},
                     Pool::halving, 0);
}

InceptionBlock block_17(Builder& build, const std::string& name, int64_t c) {
  return build.block(name,
                     {{{"1x1", 192}},
                      {{"7x7_1", c}, {"7x7_2", c, 1, 7}, {"7x7_3", 192, 7, 1}},
                      {{"7x7dbl_1", c},
                       {"7x7dbl_2", c, 7, 1},
                       {"7x7dbl_3", c, 1, 7},
                       {"7x7dbl_4", c, 7, 1},
                       {"7x7dbl_5", 192, 1, 7}}},
                     Pool::average, 192);
}

InceptionBlock to_8(Builder& build) {
  return build.block("7a",
                     {{{"3x3_1", 192}, {"3x3_2", 320, 3, 3, 2}},
                      {{"7x7x3_1", 192},
                       {"7x7x3_2", 192, 1, 7},
                       {"7x7x3_3", 192, 7, 1},
                       {"7x7x3_4", 192, 3, 3, 2}}},
                     Pool::halving, 0);
}

InceptionBlock block_8(Builder& build, const std::string& name, Pool pool) {
  return build.block(name,
                     {{{"1x1", 320}},
                      {{"3x3_1", 384}, {"3x3_2a", 384, 1, 3}, {"3x3_2b", 384, 3, 1}},
                      {{"3x3dbl_1", 448},
                       {"3x3dbl_2", 384, 3, 3},
                       {"3x3dbl_3a", 384, 1, 3},
                       {"3x3dbl_3b", 384, 3, 1}}},
                     pool, 192);
}

Tensor halved(const Tensor& x) { return at::max_pool2d(x, {3, 3}, {2, 2}); }

Tensor activated(const ConvNorm& conv, const Tensor& x) { return conv(x).relu_(); }

void append(const InceptionBranch& branch, Tensor x, std::vector<Tensor>& results) {
  const auto& convolutions = branch.convolutions;
  const size_t chained = convolutions.size() - (branch.split ? 2 : 0);
  for (size_t i = 0; i < chained; ++i) x = activated(convolutions[i], x);
  if (!branch.split) results.push_back(x);
  for (size_t i = chained; i < convolutions.size(); ++i)
    results.push_back(activated(convolutions[i], x));
}

Tensor pooled(const InceptionBlock& block, const Tensor& x) {
  switch (block.pool) {
    case Pool::average:
      return at::avg_pool2d(x, {3, 3}, {1, 1}, {1, 1}, false, /*count_include_pad=*/false);
    case Pool::max:
      return at::max_pool2d(x, {3, 3}, {1, 1}, {1, 1});
    case Pool::halving:
      return halved(x);
  }
  return x;
}

Tensor apply(const InceptionBlock& block, const Tensor& x) {
  std::vector<Tensor> results;
  for (const auto& branch : block.branches) append(branch, x, results);
  if (block.pooled.convolutions.empty())
    results.push_back(pooled(block, x));
  else
    append(block.pooled, pooled(block, x), results);
  return at::cat(results, 1);
}

Tensor mean_of_places(const Tensor& x) { return x.mean({2, 3}); }

}  // namespace

FidInception::FidInception(TensorFile tensors, const std::string& file, at::Device device,
                           int64_t dims)
    : dims_(dims) {
  Weights weights(std::move(tensors), file, at::kFloat, device);
  Builder build(weights);
  stem_ = build.stem();
  for (const auto& [name, channels] :
       {std::pair{"5b", 32}, std::pair{"5c", 64}, std::pair{"5d", 64}})
    blocks_.push_back(block_35(build, name, channels));
  blocks_.push_back(to_17(build));
  for (const auto& [name, channels] :
       {std::pair{"6b", 128}, std::pair{"6c", 160}, std::pair{"6d", 160}, std::pair{"6e", 192}})
    blocks_.push_back(block_17(build, name, channels));
  blocks_.push_back(to_8(build));
  blocks_.push_back(block_8(build, "7b", Pool::average));
  blocks_.push_back(block_8(build, "7c", Pool::max));
  classes_ = weights.take("fc.weight", {logit_width, pooled_width});
  weights.take("fc.bias", {logit_width});
  weights.finish();
}

InceptionFeatures FidInception::operator()(const Tensor& images) const {
  Tensor x = images.contiguous(at::MemoryFormat::ChannelsLast);
  for (size_t i = 0; i < 3; ++i) x = activated(stem_[i], x);
  x = halved(x);
  if (dims_ == x.size(1)) return {.pooled = mean_of_places(x)};
  x = halved(activated(stem_[4], activated(stem_[3], x)));
  if (dims_ == x.size(1)) return {.pooled = mean_of_places(x)};
  InceptionFeatures features;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    x = apply(blocks_[i], x);
    if (i == before_spatial)
      features.spatial = x.narrow(1, 0, spatial_channels).permute({0, 2, 3, 1}).flatten(1).clone();
    if (i == before_768 && dims_ == x.size(1)) {
      features.pooled = mean_of_places(x);
      return features;
    }
  }
  features.pooled = mean_of_places(x);
  features.logits = at::linear(features.pooled, classes_);
  return features;
}

}  // namespace tiller
