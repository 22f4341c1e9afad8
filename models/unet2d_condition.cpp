#include "models/unet2d_condition.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "models/unet2d_blocks.h"

namespace tiller {
namespace {

/// Linear, SiLU, linear.
struct Embedding {
  Linear first, second;
  Tensor operator()(Rows& rows, const Tensor& x) const {
    return second(rows, at::silu(first(rows, x)));
  }
};

Embedding take_embedding(Weights& weights, const std::string& name, int64_t in, int64_t out) {
  return {take_linear(weights, name + ".linear_1", in, out),
          take_linear(weights, name + ".linear_2", out, out)};
}

void expect_size(const Tensor& x, int64_t dim, int64_t expected, const std::string& what) {
  if (!x.defined()) throw Error("UNet2DConditionModel: got no " + what + ", expected one.");
  if (x.size(dim) != expected)
    throw Error("UNet2DConditionModel: got a " + what + " of width " + std::to_string(x.size(dim)) +
                ", expected " + std::to_string(expected) + ".");
}

class UNet2DCondition final : public Network {
 public:
  UNet2DCondition(const UNet2DConfig& config, Weights& weights);

  const std::vector<Site>& sites() const override { return sites_; }
  int64_t in_channels() const override { return config_.in_channels; }
  int64_t out_channels() const override { return config_.out_channels; }
  int64_t size_multiple() const override {
    return config_.pad_before_downsampling ? 1 : int64_t{1} << (down_.size() - 1);
  }
  int64_t time_channels() const override { return config_.time_channels; }
  Tensor forward(const Tensor& x, const Tensor& t, Rows& rows) const override;

 private:
  void check_input(const Tensor& x, const Rows& rows) const;
  Tensor input(const Tensor& x, const Rows& rows) const;
  Tensor embed_time(const Tensor& t, Rows& rows) const;
  Tensor embed_added(Rows& rows) const;
  at::ScalarType dtype() const { return conv_in_.weight.scalar_type(); }

  UNet2DConfig config_;
  Conv2d conv_in_, conv_out_;
  Embedding time_, added_;
  Linear guidance_;
  std::vector<UNet2DLayers> down_, up_;
  UNet2DLayers mid_;
  GroupNorm norm_out_;
  std::vector<Site> sites_;
};

UNet2DCondition::UNet2DCondition(const UNet2DConfig& config, Weights& weights) : config_(config) {
  const int64_t width = config.down.front().channels;
  conv_in_ = take_conv(weights, "conv_in", config.in_channels, width, config.conv_in_kernel);
  time_ = take_embedding(weights, "time_embedding", width, config.time_channels);
  if (config.guidance_channels)
    guidance_ =
        take_linear(weights, "time_embedding.cond_proj", config.guidance_channels, width, false);
  if (config.added_channels)
    added_ = take_embedding(weights, "add_embedding", config.added_channels, config.time_channels);
  UNet2DBuilder builder(config, weights);
  for (size_t i = 0; i < config.down.size(); ++i) down_.push_back(builder.take_down(i));
  if (config.mid) mid_ = builder.take_mid();
  for (size_t i = 0; i < config.up.size(); ++i) up_.push_back(builder.take_up(i));
  norm_out_ = take_group_norm(weights, "conv_norm_out", width, config.norm_groups, config.norm_eps);
  conv_out_ = take_conv(weights, "conv_out", width, config.out_channels, config.conv_out_kernel);
  sites_ = builder.sites();
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
  if (!sites_.empty())
    expect_size(rows.gather(&Conditioning::context), 2, config_.context_channels, "context");
  if (x.size(2) % size_multiple() || x.size(3) % size_multiple())
    throw Error("UNet2DConditionModel: got a latent of " + std::to_string(x.size(2)) + " x " +
                std::to_string(x.size(3)) + ", expected multiples of " +
                std::to_string(size_multiple()) + ".");
}

Tensor UNet2DCondition::embed_added(Rows& rows) const {
  const Tensor pooled = rows.gather(&Conditioning::pooled);
  const Tensor ids = rows.gather(&Conditioning::time_ids);
  if (!ids.defined()) throw Error("UNet2DConditionModel: got no time_ids, expected some.");
  expect_size(pooled, 1, config_.added_channels - ids.size(1) * config_.time_id_channels,
              "pooled text state");
  const Tensor embedded = timestep_embedding(ids.flatten(), config_.time_id_channels,
                                             config_.sin_first, config_.frequency_shift);
  return added_(rows,
                at::cat({pooled.to(dtype()), embedded.view({ids.size(0), -1}).to(dtype())}, 1));
}

/// What the resnets read: the time embedding after its SiLU.
Tensor UNet2DCondition::embed_time(const Tensor& t, Rows& rows) const {
  Tensor features = timestep_embedding(rows.roots(t), config_.down.front().channels,
                                       config_.sin_first, config_.frequency_shift)
                        .to(dtype());
  const Tensor guidance = rows.gather(&Conditioning::guidance);
  if (guidance.defined()) {
    expect_size(guidance, 1, config_.guidance_channels, "guidance embedding");
    features = features + guidance_(rows, guidance.to(dtype()));
  }
  const Tensor embedding = rows.time(time_(rows, features));
  return at::silu(config_.added_channels ? embedding + embed_added(rows) : embedding);
}

Tensor UNet2DCondition::forward(const Tensor& x, const Tensor& t, Rows& rows) const {
  check_input(x, rows);
  const Tensor time = embed_time(t, rows);
  Tensor h = input(x, rows).to(dtype()).contiguous(at::MemoryFormat::ChannelsLast);
  if (config_.center_input) h = 2 * h - 1;
  h = conv_in_(rows, h);
  std::vector<Tensor> skips = {h};
  for (const auto& stage : down_) h = run_down(stage, rows, h, time, skips);
  h = run_mid(mid_, rows, h, time);
  for (const auto& stage : up_) h = run_up(stage, rows, h, time, skips);
  return conv_out_(rows, norm_out_.silu(h)).to(at::kFloat);
}

}  // namespace

std::unique_ptr<Network> unet2d_condition(const nlohmann::json& config, Weights& weights) {
  return std::make_unique<UNet2DCondition>(unet2d_config(config), weights);
}

}  // namespace tiller
