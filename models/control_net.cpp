#include "models/control_net.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "io/error.h"
#include "models/config_reader.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxHintChannels = 4096;
constexpr size_t kMaxHintStages = 6;

/// The copied UNet's config: without the keys that a ControlNet adds, with a way up that mirrors
/// the way down.
Json unet_config(Json json) {
  for (const char* key :
       {"conditioning_channels", "controlnet_conditioning_channel_order",
        "conditioning_embedding_out_channels", "global_pool_conditions", "_class_name"})
    json.erase(key);
  Json& down = json["down_block_types"];
  if (down.is_null()) {
    down = Json::array(
        {"CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"});
  }
  if (!down.is_array()) config_error("down_block_types", down, "a list of names");
  Json& up = json["up_block_types"] = Json::array();
  for (auto type = down.rbegin(); type != down.rend(); ++type)
    up.push_back(*type == "CrossAttnDownBlock2D" ? "CrossAttnUpBlock2D" : "UpBlock2D");
  return json;
}

/// Widths of the layers that read the image.
std::vector<int64_t> hint_channels(ConfigReader& reader) {
  const std::string key = "conditioning_embedding_out_channels";
  const Json& value = reader.at(key);
  if (value.is_null()) return {16, 32, 96, 256};
  if (!value.is_array() || value.size() < 1 || value.size() > kMaxHintStages)
    config_error(key, value, "a list of at most " + std::to_string(kMaxHintStages) + " integers");
  return reader.integers(key, 0, value.size(), kMaxHintChannels);
}

/// Two convolutions a halving, between one from the image and one to the UNet's width.
std::vector<Conv2d> take_hint(Weights& weights, const std::vector<int64_t>& widths, int64_t out) {
  const std::string name = "controlnet_cond_embedding.";
  std::vector<Conv2d> layers = {take_conv(weights, name + "conv_in", 3, widths[0], 3)};
  for (size_t i = 0; i + 1 < widths.size(); ++i) {
    const std::string block = name + "blocks.";
    layers.push_back(take_conv(weights, block + std::to_string(2 * i), widths[i], widths[i], 3));
    layers.push_back(
        take_conv(weights, block + std::to_string(2 * i + 1), widths[i], widths[i + 1], 3, 2));
  }
  layers.push_back(take_conv(weights, name + "conv_out", widths.back(), out, 3));
  return layers;
}

/// Widths of the UNet's skips.
std::vector<int64_t> skip_channels(const UNet2DConfig& config) {
  std::vector<int64_t> widths = {config.down.front().channels};
  for (size_t i = 0; i < config.down.size(); ++i) {
    const bool halves = i + 1 < config.down.size();
    widths.insert(widths.end(), config.down[i].resnets + halves, config.down[i].channels);
  }
  return widths;
}

/// What a ControlNet reads of a UNet's conditioning.
Conditioning text_of(const Conditioning& all) {
  Conditioning text;
  text.context = all.context;
  text.pooled = all.pooled;
  text.time_ids = all.time_ids;
  return text;
}

void require_fit(bool fits) {
  if (!fits)
    throw Error(
        "ControlNet: got residuals that don't fit the network, expected those of a ControlNet "
        "made for its family.");
}

void add(Tensor& x, const Tensor& residual, double scale) {
  require_fit(residual.sizes() == x.sizes());
  x = x + scale * residual;
}

std::string sides_of(at::IntArrayRef sizes) {
  std::string text;
  for (const int64_t size : sizes) text += (text.empty() ? "" : "x") + std::to_string(size);
  return text;
}

/// The same branches for another network: the texts alone, without perturbations.
struct PlainBranches {
  std::vector<Conditioning> texts;
  std::vector<Branch> branches;
  explicit PlainBranches(const Rows& rows) {
    for (int64_t b = 0; b < rows.branches(); ++b)
      texts.push_back(text_of(*rows.branch(b).conditioning));
    for (const auto& text : texts) branches.push_back({&text});
  }
};

}  // namespace

UNet2DConfig ControlNet::read_config(const Json& json) {
  ConfigReader reader(json);
  reader.word("_class_name", {"ControlNetModel"});
  reader.refuse("num_class_embeds", nullptr);
  return unet2d_config(unet_config(json));
}

ControlNet::ControlNet(const Json& json, Weights& weights) : config_(read_config(json)) {
  ConfigReader reader(json);
  reader.refuse("conditioning_channels", 3);
  reader.refuse("global_pool_conditions", false);
  bgr_ = reader.word("controlnet_conditioning_channel_order", {"rgb", "bgr"}) == "bgr";
  const int64_t width = config_.down.front().channels;
  conv_in_ = take_conv(weights, "conv_in", config_.in_channels, width, 3);
  time_ = take_unet2d_time(weights, config_);
  hint_ = take_hint(weights, hint_channels(reader), width);
  UNet2DBuilder builder(config_, weights);
  down_ = builder.take_down();
  mid_ = builder.take_mid();
  for (const int64_t channels : skip_channels(config_))
    zeros_.push_back(take_conv(weights, "controlnet_down_blocks." + std::to_string(zeros_.size()),
                               channels, channels, 1));
  const int64_t last = config_.down.back().channels;
  zeros_.push_back(take_conv(weights, "controlnet_mid_block", last, last, 1));
}

Tensor ControlNet::embed(const Tensor& image) const {
  const Tensor& weight = hint_.front().weight;
  Tensor h = (bgr_ ? image.flip(1) : image)
                 .to(weight.device(), weight.scalar_type())
                 .contiguous(at::MemoryFormat::ChannelsLast);
  for (size_t i = 0; i + 1 < hint_.size(); ++i) h = at::silu(hint_[i](h));
  return hint_.back()(h);
}

std::vector<Tensor> ControlNet::residuals(const Tensor& x, const Tensor& t, const Tensor& hint,
                                          Rows& rows) const {
  const Tensor time = time_(t, rows);
  Tensor h = rows.roots(x).to(hint.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast);
  h = conv_in_(rows, h) + hint;
  std::vector<Tensor> outputs = {h};
  for (const auto& layer : down_) outputs.push_back(h = run_down(layer, rows, h, time));
  outputs.push_back(run_mid(mid_, rows, h, time));
  for (size_t i = 0; i < outputs.size(); ++i) outputs[i] = zeros_[i](rows, outputs[i]);
  return outputs;
}

Tensor add_controls(Rows& rows, const Tensor& x, const Tensor& t, const Tensor& middle,
                    std::vector<Tensor>& skips) {
  const PlainBranches plain(rows);
  Tensor h = rows.split_contexts(middle);
  for (Tensor& skip : skips) skip = rows.expand(skip);
  for (const Control& control : rows.controls()) {
    if (!control.net) continue;
    Rows own(plain.branches, rows.images(), rows.options());
    const auto residuals = control.net->residuals(x, t, control.hint, own);
    rows.count(own.flops());
    const auto gathered = [&](size_t i) {
      return rows.gather(own.outputs(own.expand(residuals[i])));
    };
    require_fit(residuals.size() == skips.size() + 1);
    for (size_t i = 0; i < skips.size(); ++i) add(skips[i], gathered(i), control.scale);
    add(h, gathered(skips.size()), control.scale);
  }
  return h;
}

bool has_nets(const std::vector<Control>& controls) {
  return std::any_of(controls.begin(), controls.end(),
                     [](const Control& control) { return control.net != nullptr; });
}

Tensor add_features(const Rows& rows, Tensor x, size_t stage, bool is_middle) {
  for (const Control& control : rows.controls()) {
    if (stage >= control.features.size()) continue;
    const Tensor& feature = control.features[stage];
    const bool fits = feature.sizes().slice(1) == x.sizes().slice(1);
    if (!fits && is_middle) continue;
    if (!fits)
      throw Error("--control: got features of " + sides_of(feature.sizes().slice(1)) +
                  " from a T2I-Adapter, expected the model's " + sides_of(x.sizes().slice(1)) +
                  ".");
    x = x + control.scale * feature.to(x.scalar_type());
  }
  return x;
}

std::vector<Control> acting(const std::vector<Control>& controls, int step, int steps) {
  std::vector<Control> result;
  for (const auto& control : controls)
    if (double(step) / steps >= control.from && double(step + 1) / steps <= control.to)
      result.push_back(control);
  return result;
}

}  // namespace tiller
