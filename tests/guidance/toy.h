#pragma once
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "guidance/denoiser.h"
#include "io/error.h"
#include "models/adm_unet.h"
#include "models/layers.h"
#include "models/unet2d_condition.h"
#include "tests/fixture.h"

namespace tiller::test {

inline double largest(const Tensor& x) { return x.abs().max().item<double>(); }

/// The largest difference in units of the largest expected value.
inline double relative_error(const Tensor& got, const Tensor& expected) {
  return largest(got.to(at::kDouble).flatten() - expected.to(at::kDouble).flatten()) /
         std::max(1e-30, largest(expected));
}

inline Tensor normal(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::detail::createCPUGenerator(seed), at::TensorOptions(at::kFloat));
}

/// A UNet of transformer blocks: two of them in one stack on the full grid (d0, d1), one on half of
/// it (m0), one on the full grid (u0). What lies between the stacks depends on the position.
class ToyNetwork final : public Network {
 public:
  explicit ToyNetwork(int64_t out = 4, uint64_t seed = 1) : out_(out), seed_(seed) {
    sites_ = {{"down_blocks.0.transformer_blocks.0", Part::down, 0, 0, 0, 1, 2},
              {"down_blocks.0.transformer_blocks.1", Part::down, 1, 1, 0, 1, 2},
              {"mid_block.transformer_blocks.0", Part::mid, 0, 2, 1, 2, 2},
              {"up_blocks.0.transformer_blocks.0", Part::up, 0, 3, 2, 1, 2}};
  }
  const std::vector<Site>& sites() const override { return sites_; }
  int64_t in_channels() const override { return 4; }
  int64_t out_channels() const override { return 4; }
  int64_t size_multiple() const override { return 2; }
  int64_t time_channels() const override { return kWidth; }

  Tensor forward(const Tensor& x, const Tensor& t, Rows& rows) const override {
    const int64_t height = x.size(2), width = x.size(3);
    const Tensor channel = at::arange(kWidth, at::kFloat).unsqueeze(0);
    const Tensor time = rows.time(rows.roots((t.unsqueeze(1) * 0.01 + channel).sin()));
    Tensor label = rows.gather(&Conditioning::label);
    Tensor h = linear(rows, to_tokens(rows.roots(x)), kWidth, 0) + time.unsqueeze(1);
    if (label.defined()) h = h + (label.reshape({-1, 1, 1}) * 0.7).sin();
    const Tensor entered = h;
    h = block(rows, sites_[1], block(rows, sites_[0], h));
    h = located(rows.leave_stack(rows.resume(h)));
    const Tensor skip = h + rows.expand(entered);
    h = to_tokens(at::avg_pool2d(from_tokens(skip, height, width), 2));
    h = located(rows.leave_stack(rows.resume(block(rows, sites_[2], h))));
    h = to_tokens(at::upsample_nearest2d(from_tokens(h, height / 2, width / 2), {height, width}));
    h = located(rows.leave_stack(rows.resume(block(rows, sites_[3], h + rows.expand(skip)))));
    return from_tokens(linear(rows, h, out_, 9), height, width);
  }

 private:
  static constexpr int64_t kWidth = 8;

  Tensor linear(Rows& rows, const Tensor& x, int64_t out, uint64_t index) const {
    rows.count(2.0 * x.numel() * out, x.size(0));
    const Tensor weight = normal({x.size(2), out}, 100 * seed_ + index);
    return at::matmul(x, weight) / std::sqrt(double(x.size(2)));
  }

  Tensor located(const Tensor& tokens) const {
    const Tensor place = at::arange(tokens.size(1), at::kFloat).reshape({1, -1, 1});
    return tokens * (1 + 0.3 * (0.9 * place).sin());
  }

  Tensor block(Rows& rows, const Site& site, Tensor h) const {
    h = rows.enter(site, h);
    const Tensor qkv = linear(rows, at::layer_norm(h, {kWidth}), 3 * kWidth, 10 + site.order);
    const auto parts = (2 * qkv).chunk(3, 2);
    const Tensor mixed = rows.attention(site, split_heads(parts[0], 2), split_heads(parts[1], 2),
                                        split_heads(parts[2], 2));
    h = rows.expand(h) + linear(rows, merge_heads(mixed), kWidth, 20 + site.order);
    return h + linear(rows, h.tanh(), kWidth, 30 + site.order);
  }

  int64_t out_;
  uint64_t seed_;
  std::vector<Site> sites_;
};

/// Labels 0 to 3, of which 3 means none.
inline Model toy_model(bool learned_variance = false) {
  Model model;
  model.network = std::make_unique<ToyNetwork>(learned_variance ? 8 : 4);
  model.kind = "adm";
  model.classes = 3;
  model.null_label = true;
  model.learned_variance = learned_variance;
  return model;
}

/// A small ADM UNet with attention on 4x4 and 2x2 grids for 4x4 images; all weights random, the
/// ones that start at zero too.
inline Model adm_model() {
  AdmConfig config;
  config.image_size = 4;
  config.num_channels = 32;
  config.num_res_blocks = 1;
  config.num_heads = 2;
  config.attention_resolutions = {4, 2};
  config.channel_mult = {1, 1};
  config.class_cond = true;
  config.num_classes = 3;
  config.null_label = true;
  Weights weights(5);
  Model model = toy_model();
  model.network = adm_unet(config, weights);
  uint64_t seed = 50;
  for (const auto& [name, tensor] : weights.finish())
    tensor.copy_(tensor * 0.5 + 0.05 * normal(tensor.sizes(), ++seed));
  return model;
}

/// A small SD1.5 with random weights and latents of any size from 8x8 on.
inline Model text_model(int64_t in_channels = 4) {
  const Json config = {{"in_channels", in_channels},
                       {"out_channels", 4},
                       {"block_out_channels", {16, 32}},
                       {"down_block_types", {"CrossAttnDownBlock2D", "DownBlock2D"}},
                       {"up_block_types", {"UpBlock2D", "CrossAttnUpBlock2D"}},
                       {"layers_per_block", 1},
                       {"norm_num_groups", 8},
                       {"attention_head_dim", 2},
                       {"cross_attention_dim", 12}};
  Weights weights(5);
  Model model;
  model.kind = "unet2d_condition";
  model.network = unet2d_condition(config, weights);
  model.parameters = weights.finish();
  uint64_t seed = 70;
  for (const auto& [name, tensor] : model.parameters)
    tensor.copy_(tensor + 0.1 * normal(tensor.sizes(), ++seed));
  return model;
}

/// Prompts of the images with these seeds.
inline GuidedBatch text_batch(std::vector<uint64_t> seeds, int steps = 10) {
  GuidedBatch batch;
  const auto prompts = [&](uint64_t offset) {
    std::vector<Tensor> images;
    for (const uint64_t seed : seeds) images.push_back(normal({5, 12}, 100 * seed + offset));
    return at::stack(images);
  };
  batch.positive.context = prompts(1);
  batch.negative.emplace().context = prompts(2);
  batch.empty.emplace().context = prompts(3);
  batch.seeds = std::move(seeds);
  batch.steps = steps;
  return batch;
}

inline GuidedBatch toy_batch(std::vector<int64_t> labels, std::vector<uint64_t> seeds,
                             int steps = 10) {
  GuidedBatch batch;
  batch.positive.label = at::tensor(labels, at::kLong);
  batch.negative.emplace().label = at::full_like(batch.positive.label, 3);
  batch.seeds = std::move(seeds);
  batch.steps = steps;
  return batch;
}

inline NoiseLevel level_at(int step) { return {0.8, 0.6, 500.0 - step, step}; }

/// What guidance `text` makes of x at a step.
inline Prediction guided(const Model& model, const std::string& text, const Tensor& x,
                         const GuidedBatch& batch, bool share = true, GuidanceCost* cost = nullptr,
                         int step = 3) {
  auto chosen = choose_guidances({text}, model);
  return guided_denoiser(model, chosen, batch, share, cost)(x, level_at(step));
}

inline std::string message_of(const std::string& text, const Model& model) {
  try {
    choose_guidances({text}, model);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace tiller::test
