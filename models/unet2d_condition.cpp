#include "models/unet2d_condition.h"

#include <ATen/ATen.h>

#include <map>

#include "io/error.h"
#include "models/control_net.h"
#include "models/unet2d_blocks.h"
#include "models/unet2d_embedding.h"

namespace tiller {
namespace {

class UNet2DCondition final : public Network {
 public:
  UNet2DCondition(const UNet2DConfig& config, Weights& weights);

  const std::vector<Site>& sites() const override { return sites_; }
  int64_t in_channels() const override { return config_.in_channels; }
  int64_t out_channels() const override { return config_.out_channels; }
  int64_t size_multiple() const override {
    return config_.pad_before_downsampling ? 1 : int64_t{1} << (config_.down.size() - 1);
  }
  int64_t time_channels() const override { return config_.time_channels; }
  int up_blocks() const override { return up_blocks_; }
  Tensor forward(const Tensor& x, const Tensor& t, Rows& rows) const override;

 private:
  void check_input(const Tensor& x, const Rows& rows) const;
  Tensor input(const Tensor& x, const Rows& rows) const;
  Tensor go_down(size_t i, const Tensor& from, const Tensor& time, Rows& rows) const;
  at::ScalarType dtype() const { return conv_in_.weight.scalar_type(); }

  UNet2DConfig config_;
  Conv2d conv_in_, conv_out_;
  UNet2DTime time_;
  std::vector<UNet2DLayer> down_, mid_, up_;
  GroupNorm norm_out_;
  std::vector<Site> sites_;
  int up_blocks_ = 0;
  std::map<size_t, size_t> stages_;  ///< By the skip that reads a T2I-Adapter's features of it.
};

/// The skip of each stage's last stack, or where it has none of all of it.
std::map<size_t, size_t> feature_stages(const UNet2DConfig& config) {
  std::map<size_t, size_t> stages;
  size_t last = 0;
  for (size_t i = 0; i < config.down.size(); ++i) {
    const UNet2DStage& stage = config.down[i];
    const bool halves = i + 1 < config.down.size();
    last += size_t(stage.resnets) + halves;
    stages[last - (halves && !stage.depths.empty())] = i;
  }
  return stages;
}

UNet2DCondition::UNet2DCondition(const UNet2DConfig& config, Weights& weights) : config_(config) {
  const int64_t width = config.down.front().channels;
  conv_in_ = take_conv(weights, "conv_in", config.in_channels, width, config.conv_in_kernel);
  time_ = take_unet2d_time(weights, config);
  UNet2DBuilder builder(config, weights);
  down_ = builder.take_down();
  mid_ = builder.take_mid();
  up_ = builder.take_up();
  norm_out_ = take_group_norm(weights, "conv_norm_out", width, config.norm_groups, config.norm_eps);
  conv_out_ = take_conv(weights, "conv_out", width, config.out_channels, config.conv_out_kernel);
  sites_ = builder.sites();
  up_blocks_ = builder.up_resnets();
  stages_ = feature_stages(config);
}

/// x and the channels that are read beside it.
Tensor UNet2DCondition::input(const Tensor& x, const Rows& rows) const {
  const Tensor beside = rows.gather(&Conditioning::channels);
  return beside.defined() ? at::cat({rows.roots(x), beside}, 1) : rows.roots(x);
}

void UNet2DCondition::check_input(const Tensor& x, const Rows& rows) const {
  const Tensor beside = rows.gather(&Conditioning::channels);
  const int64_t channels = x.size(1) + (beside.defined() ? beside.size(1) : 0);
  if (channels != config_.in_channels)
    throw Error("UNet2DConditionModel: got a latent of " + std::to_string(channels) +
                " channels, expected " + std::to_string(config_.in_channels) + ".");
  const Tensor context = rows.gather(&Conditioning::context);
  if (!sites_.empty() && (context.defined() || !config_.class_embeddings))
    expect_unet2d_size(context, 2, config_.context_channels, "context");
  if (x.size(2) % size_multiple() || x.size(3) % size_multiple())
    throw Error("UNet2DConditionModel: got a latent of " + std::to_string(x.size(2)) + " x " +
                std::to_string(x.size(3)) + ", expected multiples of " +
                std::to_string(size_multiple()) + ".");
}

Tensor UNet2DCondition::go_down(size_t i, const Tensor& from, const Tensor& time,
                                Rows& rows) const {
  const Tensor h = i ? run_down(down_[i - 1], rows, from, time) : conv_in_(rows, from);
  const auto stage = stages_.find(i);
  return stage == stages_.end() ? h : add_features(rows, h, stage->second);
}

Tensor UNet2DCondition::forward(const Tensor& x, const Tensor& t, Rows& rows) const {
  check_input(x, rows);
  const Tensor time = time_(t, rows);
  Tensor h = input(x, rows).to(dtype()).contiguous(at::MemoryFormat::ChannelsLast);
  if (config_.center_input) h = 2 * h - 1;
  const auto middle = [&](const Tensor& from, Skips& skips) {
    const Tensor own = add_features(rows, run_mid(mid_, rows, from, time), config_.down.size(),
                                    /*is_middle=*/true);
    return has_nets(rows.controls()) ? add_controls(rows, x, t, own, skips) : own;
  };
  const Spine spine{
      .skips = down_.size() + 1,
      .down = [&](size_t i, const Tensor& from) { return go_down(i, from, time, rows); },
      .middle = middle,
      .up = [&](size_t i, const Tensor& from,
                Skips& skips) { return run_up(up_[i], rows, from, time, skips); }};
  h = run_spine(spine, rows, h);
  return conv_out_(rows, norm_out_.silu(h)).to(at::kFloat);
}

}  // namespace

std::unique_ptr<Network> unet2d_condition(const nlohmann::json& config, Weights& weights) {
  return std::make_unique<UNet2DCondition>(unet2d_config(config), weights);
}

}  // namespace tiller
