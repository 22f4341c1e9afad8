#include "models/adm_unet.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "models/adm_blocks.h"
#include "models/spine.h"

namespace tiller {
namespace {

using adm::Resample;
using adm::Sequence;

class AdmUNet final : public Network {
 public:
  AdmUNet(const AdmConfig&, Weights&);
  const std::vector<Site>& sites() const override { return sites_; }
  int64_t in_channels() const override { return config_.in_channels; }
  int64_t out_channels() const override { return config_.in_channels; }
  int64_t size_multiple() const override { return int64_t{1} << (config_.channel_mult.size() - 1); }
  int64_t time_channels() const override { return 4 * config_.num_channels; }
  int up_blocks() const override { return static_cast<int>(output_blocks_.size()); }
  Tensor forward(const Tensor& x, const Tensor& t, Rows& rows) const override;

 private:
  void take_input_blocks(Weights&);
  void take_middle_block(Weights&);
  void take_output_blocks(Weights&);
  void add_attention(Weights&, Sequence&, const std::string& name, Part, bool always = false);
  void add_resample(Weights&, Sequence&, const std::string& name, Resample);
  void add_res_block(Weights&, Sequence&, const std::string& name, int64_t in, int64_t out);
  int64_t channels_of(size_t level) const {
    return static_cast<int64_t>(config_.channel_mult[level] * config_.num_channels);
  }
  /// Where the i-th block of the way up reads its skip.
  SkipPlace place_of(size_t i) const {
    return {int(i) / int(config_.num_res_blocks + 1), channels_of(0)};
  }
  Tensor embed(const Tensor& t, Rows& rows) const;

  AdmConfig config_;
  std::vector<Site> sites_;
  Linear time_embed0_, time_embed2_;
  Tensor label_embedding_;
  std::vector<Sequence> input_blocks_, output_blocks_;
  Sequence middle_block_;
  GroupNorm out_norm_;
  Conv2d out_conv_;
  // While the blocks are taken:
  int64_t channels_ = 0, downscale_ = 1;
  std::vector<int64_t> skip_channels_;
};

AdmUNet::AdmUNet(const AdmConfig& config, Weights& weights) : config_(config) {
  const int64_t embedding = 4 * config.num_channels;
  time_embed0_ = take_linear(weights, "time_embed.0", config.num_channels, embedding);
  time_embed2_ = take_linear(weights, "time_embed.2", embedding, embedding);
  if (config.class_cond)
    label_embedding_ = weights.take(
        "label_emb.weight", {config.num_classes + config.null_label, embedding}, Init::normal);
  take_input_blocks(weights);
  take_middle_block(weights);
  take_output_blocks(weights);
  out_norm_ = take_group_norm(weights, "out.0", channels_);
  out_conv_ = take_conv(weights, "out.2", channels_of(0), config.out_channels(), 3, 1, Init::zeros);
}

void AdmUNet::add_res_block(Weights& weights, Sequence& blocks, const std::string& name, int64_t in,
                            int64_t out) {
  const std::string path = name + "." + std::to_string(blocks.size());
  blocks.push_back(adm::take_res_block(weights, path, config_, in, out));
  channels_ = out;
}

/// Adds an attention block where the config wants one at this resolution.
void AdmUNet::add_attention(Weights& weights, Sequence& blocks, const std::string& name, Part part,
                            bool always) {
  const auto wants = [&](int64_t resolution) {
    return config_.image_size / resolution == downscale_;
  };
  const auto& resolutions = config_.attention_resolutions;
  if (!always && std::none_of(resolutions.begin(), resolutions.end(), wants)) return;
  Site site;
  site.path = name + "." + std::to_string(blocks.size());
  site.part = part;
  site.index = static_cast<int>(
      std::count_if(sites_.begin(), sites_.end(), [&](const Site& s) { return s.part == part; }));
  site.order = site.stack = static_cast<int>(sites_.size());
  site.downscale = static_cast<int>(downscale_);
  const int64_t by_part = part == Part::up && config_.num_heads_upsample > 0
                              ? config_.num_heads_upsample
                              : config_.num_heads;
  if (config_.num_head_channels > 0 && channels_ % config_.num_head_channels)
    throw Error("config.json: num_head_channels: got " + std::to_string(config_.num_head_channels) +
                ", expected a divisor of " + std::to_string(channels_) + " channels at " +
                site.path + ".");
  const int64_t heads =
      config_.num_head_channels > 0 ? channels_ / config_.num_head_channels : by_part;
  if (heads < 1 || channels_ % heads)
    throw Error("config.json: num_heads: got " + std::to_string(heads) +
                " heads, expected a divisor of " + std::to_string(channels_) + " channels at " +
                site.path + ".");
  site.heads = static_cast<int>(heads);
  sites_.push_back(site);
  blocks.push_back(adm::take_attention(weights, config_, site, channels_));
}

void AdmUNet::add_resample(Weights& weights, Sequence& blocks, const std::string& name,
                           Resample resample) {
  const std::string path = name + "." + std::to_string(blocks.size());
  if (config_.resblock_updown) {
    blocks.push_back(adm::take_res_block(weights, path, config_, channels_, channels_, resample));
  } else {
    const bool down = resample == Resample::down;
    const std::string conv = path + (down ? ".op" : ".conv");
    blocks.push_back(adm::ResampleConv{
        take_conv(weights, conv, channels_, channels_, 3, down ? 2 : 1), resample});
  }
}

void AdmUNet::take_input_blocks(Weights& weights) {
  const auto next = [&] { return "input_blocks." + std::to_string(input_blocks_.size()); };
  const auto keep = [&](Sequence blocks) {
    input_blocks_.push_back(std::move(blocks));
    skip_channels_.push_back(channels_);
  };
  channels_ = channels_of(0);
  keep({take_conv(weights, next() + ".0", config_.in_channels, channels_, 3)});
  for (size_t level = 0; level < config_.channel_mult.size(); ++level) {
    for (int64_t i = 0; i < config_.num_res_blocks; ++i) {
      Sequence blocks;
      add_res_block(weights, blocks, next(), channels_, channels_of(level));
      add_attention(weights, blocks, next(), Part::down);
      keep(std::move(blocks));
    }
    if (level + 1 == config_.channel_mult.size()) break;
    Sequence blocks;
    add_resample(weights, blocks, next(), Resample::down);
    keep(std::move(blocks));
    downscale_ *= 2;
  }
}

void AdmUNet::take_middle_block(Weights& weights) {
  add_res_block(weights, middle_block_, "middle_block", channels_, channels_);
  add_attention(weights, middle_block_, "middle_block", Part::mid, true);
  add_res_block(weights, middle_block_, "middle_block", channels_, channels_);
}

void AdmUNet::take_output_blocks(Weights& weights) {
  for (size_t level = config_.channel_mult.size(); level-- > 0;) {
    for (int64_t i = 0; i <= config_.num_res_blocks; ++i) {
      const std::string name = "output_blocks." + std::to_string(output_blocks_.size());
      Sequence blocks;
      add_res_block(weights, blocks, name, channels_ + skip_channels_.back(), channels_of(level));
      std::get<adm::ResBlock>(blocks.back()).up_index = static_cast<int>(output_blocks_.size());
      skip_channels_.pop_back();
      add_attention(weights, blocks, name, Part::up);
      if (level && i == config_.num_res_blocks) {
        add_resample(weights, blocks, name, Resample::up);
        downscale_ /= 2;
      }
      output_blocks_.push_back(std::move(blocks));
    }
  }
}

/// SiLU of the time embedding plus the label's: (R, 4 * num_channels).
Tensor AdmUNet::embed(const Tensor& t, Rows& rows) const {
  const Tensor& weight = time_embed0_.weight;
  const Tensor waves =
      timestep_embedding(rows.roots(t), config_.num_channels).to(weight.scalar_type());
  Tensor embedded = rows.time(time_embed2_(rows, at::silu(time_embed0_(rows, waves))));
  if (label_embedding_.defined())
    embedded = embedded + at::embedding(label_embedding_, rows.gather(&Conditioning::label));
  return at::silu(embedded);
}

Tensor AdmUNet::forward(const Tensor& x, const Tensor& t, Rows& rows) const {
  const Tensor embedded = embed(t, rows);
  const Tensor input = x.to(out_conv_.weight.scalar_type());
  const auto run = [&](const Sequence& blocks, const Tensor& h) {
    return adm::run(blocks, rows, h, embedded);
  };
  const Spine spine{.skips = input_blocks_.size(),
                    .down = [&](size_t i, const Tensor& h) { return run(input_blocks_[i], h); },
                    .middle = [&](const Tensor& h, Skips&) { return run(middle_block_, h); },
                    .up =
                        [&](size_t i, const Tensor& h, Skips& skips) {
                          return run(output_blocks_[i], with_skip(rows, place_of(i), h, skips));
                        }};
  const Tensor h =
      run_spine(spine, rows, rows.roots(input).contiguous(at::MemoryFormat::ChannelsLast));
  return out_conv_(rows, out_norm_.silu(h)).to(at::kFloat);
}

}  // namespace

std::unique_ptr<Network> adm_unet(const AdmConfig& config, Weights& weights) {
  return std::make_unique<AdmUNet>(config, weights);
}

}  // namespace tiller
