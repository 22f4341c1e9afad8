#include "models/edm_unet.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "models/edm_blocks.h"
#include "models/edm_embedding.h"
#include "models/retold_network.h"
#include "models/spine.h"

namespace tiller {
namespace {

/// A block of the encoder, and what feeds the image's features to it.
struct Encoding {
  edm::Block block;
  std::optional<edm::DownConv> image;
};

class EdmUNet final : public Network {
 public:
  EdmUNet(const EdmConfig&, Weights&);
  const std::vector<Site>& sites() const override { return sites_; }
  int64_t in_channels() const override { return config_.img_channels; }
  int64_t out_channels() const override { return config_.img_channels; }
  int64_t size_multiple() const override { return int64_t{1} << (levels() - 1); }
  int64_t time_channels() const override {
    return config_.model_channels * config_.channel_mult_emb;
  }
  int up_blocks() const override { return up_blocks_; }
  Tensor forward(const Tensor& x, const Tensor& t, Rows& rows) const override;

 private:
  int levels() const { return static_cast<int>(config_.channel_mult.size()); }
  int64_t resolution(int level) const { return config_.img_resolution >> level; }
  int64_t channels_of(int level) const {
    return config_.model_channels * config_.channel_mult[size_t(level)];
  }
  /// Where the i-th block of the way up reads its skip.
  SkipPlace place_of(size_t i) const {
    return {int(i) / int(config_.num_blocks + 1), config_.model_channels};
  }
  /// "enc.16x16_": the start of a level's names.
  std::string name_of(const std::string& part, int level) const;
  void take_encoder(Weights&);
  void take_encoder_start(Weights&, int level);
  void take_decoder(Weights&);
  void take_decoder_start(Weights&, int level);
  /// Takes a block after the last one.
  edm::Block take(Weights&, const std::string& name, int64_t in, int64_t out,
                  std::optional<Site> site = {}, edm::Resample resample = edm::Resample::none);
  std::optional<Site> site(const std::string& path, Part, int level, int64_t channels) const;

  EdmConfig config_;
  std::vector<Site> sites_;
  edm::Embedding embedding_;
  Conv2d first_;
  std::vector<Encoding> encoder_;
  std::vector<edm::Block> middle_;
  std::vector<std::vector<edm::Block>> decoder_;  ///< The first of each reads a skip.
  GroupNorm out_norm_;
  Conv2d out_conv_;
  int up_blocks_ = 0;
  // While the blocks are taken:
  int64_t channels_ = 0, image_channels_ = 0;
  std::vector<int64_t> skip_channels_;
};

EdmUNet::EdmUNet(const EdmConfig& config, Weights& weights)
    : config_(config), embedding_(edm::take_embedding(weights, config)) {
  take_encoder(weights);
  take_decoder(weights);
  const bool adm = config.dhariwal;
  const std::string last = name_of("dec", 0) + "aux";
  out_norm_ = edm::take_norm(weights, adm ? "out_norm" : last + "_norm", config, channels_);
  out_conv_ = take_conv(weights, adm ? "out_conv" : last + "_conv", channels_,
                        config.out_channels(), 3, 1, Init::zeros);
}

std::string EdmUNet::name_of(const std::string& part, int level) const {
  const std::string side = std::to_string(resolution(level));
  return part + "." + side + "x" + side + "_";
}

/// Where a block of so many channels attends; nothing where it has no head.
std::optional<Site> EdmUNet::site(const std::string& path, Part part, int level,
                                  int64_t channels) const {
  if (!edm::heads_of(config_, channels)) return {};
  Site site;
  site.path = path;
  site.part = part;
  site.index = static_cast<int>(
      std::count_if(sites_.begin(), sites_.end(), [&](const Site& s) { return s.part == part; }));
  site.order = site.stack = static_cast<int>(sites_.size());
  site.downscale = 1 << level;
  site.heads = 1;
  return site;
}

edm::Block EdmUNet::take(Weights& weights, const std::string& name, int64_t in, int64_t out,
                         std::optional<Site> site, edm::Resample resample) {
  edm::Block block = edm::take_block(weights, name, config_, {in, out, resample, std::move(site)});
  if (block.attention) sites_.push_back(block.attention->site);
  channels_ = out;
  return block;
}

void EdmUNet::take_encoder_start(Weights& weights, int level) {
  const std::string name = name_of("enc", level);
  if (level == 0) {
    image_channels_ = config_.img_channels;
    channels_ = config_.dhariwal ? channels_of(0) : config_.model_channels;
    first_ = take_conv(weights, name + "conv", config_.img_channels, channels_, 3);
  } else {
    Encoding down{take(weights, name + "down", channels_, channels_, {}, edm::Resample::down), {}};
    if (config_.residual)
      down.image = edm::take_down_conv(weights, name + "aux_residual", config_,
                                       std::exchange(image_channels_, channels_), channels_);
    encoder_.push_back(std::move(down));
  }
  skip_channels_.push_back(channels_);
}

void EdmUNet::take_encoder(Weights& weights) {
  for (int level = 0; level < levels(); ++level) {
    take_encoder_start(weights, level);
    for (int64_t i = 0; i < config_.num_blocks; ++i) {
      const std::string name = name_of("enc", level) + "block" + std::to_string(i);
      const int64_t out = channels_of(level);
      const auto where =
          config_.attends(resolution(level)) ? site(name, Part::down, level, out) : std::nullopt;
      encoder_.push_back({take(weights, name, channels_, out, where), {}});
      skip_channels_.push_back(channels_);
    }
  }
}

void EdmUNet::take_decoder_start(Weights& weights, int level) {
  const std::string name = name_of("dec", level);
  const auto block = [&](const std::string& what, std::optional<Site> where,
                         edm::Resample resample) {
    return take(weights, name + what, channels_, channels_, std::move(where), resample);
  };
  if (level + 1 < levels()) {
    decoder_.back().push_back(block("up", {}, edm::Resample::up));
    return;
  }
  middle_.push_back(
      block("in0", site(name + "in0", Part::mid, level, channels_), edm::Resample::none));
  middle_.push_back(block("in1", {}, edm::Resample::none));
}

void EdmUNet::take_decoder(Weights& weights) {
  for (int level = levels(); level-- > 0;) {
    take_decoder_start(weights, level);
    for (int64_t i = 0; i <= config_.num_blocks; ++i) {
      const std::string name = name_of("dec", level) + "block" + std::to_string(i);
      const int64_t in = channels_ + skip_channels_.back(), out = channels_of(level);
      skip_channels_.pop_back();
      const bool attends =
          config_.attends(resolution(level)) && (config_.dhariwal || i == config_.num_blocks);
      const auto where = attends ? site(name, Part::up, level, out) : std::nullopt;
      decoder_.push_back({take(weights, name, in, out, where)});
      decoder_.back().front().up_index = up_blocks_++;
    }
  }
}

Tensor EdmUNet::forward(const Tensor& x, const Tensor& t, Rows& rows) const {
  const Tensor embedded = embedding_(rows, t);
  const Tensor input = x.to(out_conv_.weight.scalar_type());
  Tensor image = rows.roots(input).contiguous(at::MemoryFormat::ChannelsLast);
  const auto all_of = [&](const std::vector<edm::Block>& blocks, Tensor h) {
    for (const auto& block : blocks) h = block(rows, h, embedded);
    return h;
  };
  const auto down = [&](size_t i, const Tensor& before) {
    if (i == 0) return first_(rows, before);
    const Tensor h = encoder_[i - 1].block(rows, before, embedded);
    const auto& beside = encoder_[i - 1].image;
    if (!beside) return h;
    return image = (h + rows.expand((*beside)(rows, image))) / std::sqrt(2.0);
  };
  const Spine spine{.skips = encoder_.size() + 1,
                    .down = down,
                    .middle = [&](const Tensor& h, Skips&) { return all_of(middle_, h); },
                    .up =
                        [&](size_t i, const Tensor& h, Skips& skips) {
                          return all_of(decoder_[i], with_skip(rows, place_of(i), h, skips));
                        }};
  const Tensor h = run_spine(spine, rows, image);
  return out_conv_(rows, out_norm_.silu(h)).to(at::kFloat);
}

}  // namespace

std::unique_ptr<Network> edm_unet(const EdmConfig& config, Weights& weights) {
  return retold(std::make_unique<EdmUNet>(config, weights), config.preconditioner);
}

}  // namespace tiller
