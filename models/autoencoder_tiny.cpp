#include "models/autoencoder_tiny.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>

#include "io/error.h"
#include "models/config_reader.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxTinyChannels = 1 << 12;

/// One number a stage.
std::vector<int64_t> read_stages(ConfigReader& reader, const std::string& key,
                                 std::vector<int64_t> usual) {
  const Json& value = reader.at(key);
  if (value.is_null()) return usual;
  if (!value.is_array() || value.empty() || value.size() > 8)
    config_error(key, value, "a list of at most 8 integers");
  return reader.integers(key, 0, value.size(), kMaxTinyChannels);
}

/// Layers follow each other without projections: all stages are equally wide.
void check_widths(const std::string& key, const std::vector<int64_t>& channels,
                  const std::vector<int64_t>& blocks) {
  if (channels.size() != blocks.size())
    config_error(key, channels, std::to_string(blocks.size()) + " integers, one a stage");
  if (std::any_of(channels.begin(), channels.end(), [&](int64_t c) { return c != channels[0]; }))
    config_error(key, channels, "the same width for all stages");
}

/// Keys of diffusers that change nothing here: the first two serve its forward() only.
void read_unused_keys(ConfigReader& reader) {
  for (const char* key : {"latent_magnitude", "latent_shift", "block_out_channels", "force_upcast"})
    reader.at(key);
}

AutoencoderTinyConfig read_tiny_config(const Json& json) {
  ConfigReader reader(json);
  AutoencoderTinyConfig config;
  reader.word("_class_name", {"AutoencoderTiny"});
  reader.word("act_fn", {"relu"});
  reader.word("upsample_fn", {"nearest"});
  read_unused_keys(reader);
  config.in_channels = reader.integer("in_channels", 3, 1, kMaxTinyChannels);
  config.out_channels = reader.integer("out_channels", 3, 1, kMaxTinyChannels);
  config.latent_channels = reader.integer("latent_channels", 4, 1, kMaxTinyChannels);
  config.upsampling = reader.integer("upsampling_scaling_factor", 2, 1, 8);
  config.scaling_factor = reader.number("scaling_factor", 1, 1e-6, 1e6);
  config.shift_factor = reader.number("shift_factor", 0, -1e6, 1e6);
  const std::string encoder = "encoder_block_out_channels", decoder = "decoder_block_out_channels";
  config.encoder_channels = read_stages(reader, encoder, {64, 64, 64, 64});
  config.decoder_channels = read_stages(reader, decoder, {64, 64, 64, 64});
  config.encoder_blocks = read_stages(reader, "num_encoder_blocks", {1, 3, 3, 3});
  config.decoder_blocks = read_stages(reader, "num_decoder_blocks", {3, 3, 3, 1});
  reader.finish("AutoencoderTiny");
  check_widths(encoder, config.encoder_channels, config.encoder_blocks);
  check_widths(decoder, config.decoder_channels, config.decoder_blocks);
  return config;
}

/// Takes the layers of one nn.Sequential, whose numbers count activations and upsamplings too.
class TinyLayers {
 public:
  TinyLayers(Weights& weights, std::string name) : weights_(weights), name_(std::move(name)) {}

  Conv2d conv(int64_t in, int64_t out, bool bias = true, int64_t stride = 1) {
    return take_conv(weights_, next(), in, out, 3, stride, Init::uniform, bias);
  }
  std::vector<TinyBlock> blocks(int64_t count, int64_t channels) {
    std::vector<TinyBlock> result;
    for (int64_t i = 0; i < count; ++i) {
      const std::string name = next() + ".conv.";
      const auto conv = [&](const char* index) {
        return take_conv(weights_, name + index, channels, channels, 3);
      };
      result.push_back({conv("0"), conv("2"), conv("4")});
    }
    return result;
  }
  void skip() { ++index_; }

 private:
  std::string next() { return name_ + std::to_string(index_++); }

  Weights& weights_;
  std::string name_;
  int index_ = 0;
};

std::vector<TinyStage> take_encoder(Weights& weights, const AutoencoderTinyConfig& config) {
  TinyLayers layers(weights, "encoder.layers.");
  const int64_t width = config.encoder_channels.front();
  std::vector<TinyStage> stages;
  for (size_t i = 0; i < config.encoder_blocks.size(); ++i) {
    TinyStage stage;
    stage.conv = i ? layers.conv(width, width, false, 2) : layers.conv(config.in_channels, width);
    stage.blocks = layers.blocks(config.encoder_blocks[i], width);
    stages.push_back(std::move(stage));
  }
  stages.push_back({layers.conv(width, config.latent_channels)});
  return stages;
}

std::vector<TinyStage> take_decoder(Weights& weights, const AutoencoderTinyConfig& config) {
  TinyLayers layers(weights, "decoder.layers.");
  const int64_t width = config.decoder_channels.front();
  std::vector<TinyStage> stages = {{layers.conv(config.latent_channels, width), 1, true}};
  layers.skip();
  for (size_t i = 0; i < config.decoder_blocks.size(); ++i) {
    stages.back().blocks = layers.blocks(config.decoder_blocks[i], width);
    const bool last = i + 1 == config.decoder_blocks.size();
    if (!last) layers.skip();
    stages.push_back({layers.conv(width, last ? config.out_channels : width, last),
                      last ? 1 : config.upsampling});
  }
  return stages;
}

Tensor run(const std::vector<TinyStage>& stages, Tensor x) {
  for (const auto& stage : stages) {
    if (stage.upsampling > 1)
      x = at::upsample_nearest2d(x, {x.size(2) * stage.upsampling, x.size(3) * stage.upsampling});
    x = stage.conv(x);
    if (stage.relu) x = at::relu(x);
    for (const auto& block : stage.blocks) x = block(x);
  }
  return x;
}

Tensor as_input(const Tensor& x, const TinyStage& first, const std::string& what) {
  const int64_t channels = first.conv.weight.size(1);
  if (x.size(1) != channels)
    throw Error("AutoencoderTiny: got " + what + " with " + std::to_string(x.size(1)) +
                " channels, expected " + std::to_string(channels) + ".");
  return x.to(first.conv.weight.scalar_type()).contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace

Tensor TinyBlock::operator()(const Tensor& x) const {
  return at::relu(x + conv4(at::relu(conv2(at::relu(conv0(x))))));
}

AutoencoderTiny::AutoencoderTiny(const Json& config, Weights& weights)
    : config_(read_tiny_config(config)),
      encoder_(take_encoder(weights, config_)),
      decoder_(take_decoder(weights, config_)) {}

Tensor AutoencoderTiny::encode(const Tensor& images) const {
  const Tensor x = as_input(images, encoder_.front(), "images");
  return run(encoder_, (x + 1) / 2).to(at::kFloat);
}

Tensor AutoencoderTiny::decode(const Tensor& latents) const {
  const Tensor z = as_input(latents, decoder_.front(), "latents");
  return run(decoder_, at::tanh(z / 3) * 3).to(at::kFloat) * 2 - 1;
}

NamedTensors taesd_tensors(const NamedTensors& encoder, const NamedTensors& decoder) {
  NamedTensors result;
  const auto add = [&](const NamedTensors& tensors, const std::string& prefix, int shift) {
    for (const auto& [name, tensor] : tensors) {
      int index = 0;
      const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), index);
      if (error != std::errc() || index < shift)
        throw Error("TAESD: got the tensor '" + printable(name) +
                    "', expected names that begin with a layer's number.");
      result.emplace_back(prefix + std::to_string(index - shift) + end, tensor);
    }
  };
  add(encoder, "encoder.layers.", 0);
  add(decoder, "decoder.layers.", 1);  // the original counts a clamp before
  return result;
}

Tensor latent_rgb(const Tensor& latents, LatentFamily family) {
  const bool xl = family == LatentFamily::sdxl;
  const at::TensorOptions options = latents.options().dtype(at::kFloat);
  const std::vector<double> factors =
      xl ? std::vector{0.3651, 0.4232, 0.4341,  -0.2533, -0.0042, 0.1068,
                       0.1076, 0.1111, -0.0362, -0.3165, -0.2492, -0.2188}
         : std::vector{0.3512,  0.2297, 0.3227, 0.3250,  0.4974,  0.2350,
                       -0.2829, 0.1762, 0.2721, -0.2120, -0.2616, -0.7177};
  const std::vector<double> bias =
      xl ? std::vector{0.1084, -0.0175, -0.0011} : std::vector{0., 0., 0.};
  const Tensor weight = at::tensor(factors, options).view({4, 3}).t();
  const Tensor rgb =
      at::linear(latents.to(at::kFloat).permute({0, 2, 3, 1}), weight, at::tensor(bias, options));
  return rgb.permute({0, 3, 1, 2}).clamp(-1, 1);
}

}  // namespace tiller
