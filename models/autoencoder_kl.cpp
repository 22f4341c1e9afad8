#include "models/autoencoder_kl.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "io/error.h"
#include "models/config_reader.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMaxVaeChannels = 1 << 14;
constexpr int64_t kMaxSize = 1 << 16;

/// A list of one number a latent channel, or empty.
std::vector<double> read_statistics(ConfigReader& reader, const std::string& key, int64_t channels,
                                    double low) {
  const Json& value = reader.at(key);
  if (value.is_null()) return {};
  const auto fits = [&](const Json& entry) {
    return entry.is_number() && std::abs(entry.get<double>()) <= 1e6 && entry.get<double>() >= low;
  };
  if (!value.is_array() || value.size() != static_cast<size_t>(channels) ||
      !std::all_of(value.begin(), value.end(), fits))
    config_error(key, value, "a list of " + std::to_string(channels) + " numbers");
  return value.get<std::vector<double>>();
}

void read_stages(ConfigReader& reader, AutoencoderKLConfig& config) {
  const std::string key = "block_out_channels";
  const Json& channels = reader.at(key);
  if (!channels.is_null() && (!channels.is_array() || channels.empty() || channels.size() > 8))
    config_error(key, channels, "a list of at most 8 integers");
  const size_t stages = channels.is_null() ? 1 : channels.size();
  config.channels = reader.integers(key, 64, stages, kMaxVaeChannels);
  for (const auto& [types, plain] : {std::pair("down_block_types", "DownEncoderBlock2D"),
                                     std::pair("up_block_types", "UpDecoderBlock2D")})
    if (const std::vector<std::string> usual(stages, plain); reader.words(types, usual) != usual)
      config_error(types, reader.at(types),
                   std::to_string(stages) + " times " + plain + " (nothing else is supported)");
}

void read_scaling(ConfigReader& reader, AutoencoderKLConfig& config) {
  config.scaling_factor = reader.number("scaling_factor", 0.18215, 1e-6, 1e6);
  config.shift_factor = reader.number("shift_factor", 0, -1e6, 1e6);
  config.latents_mean = read_statistics(reader, "latents_mean", config.latent_channels, -1e6);
  config.latents_std = read_statistics(reader, "latents_std", config.latent_channels, 1e-6);
  if (config.latents_mean.empty() != config.latents_std.empty())
    config_error("latents_std", config.latents_std, "both or neither of latents_mean and this");
  config.force_upcast = reader.flag("force_upcast", true);
}

AutoencoderKLConfig read_kl_config(const Json& json) {
  ConfigReader reader(json);
  AutoencoderKLConfig config;
  reader.word("_class_name", {"AutoencoderKL"});
  reader.word("act_fn", {"silu", "swish"});
  read_stages(reader, config);
  config.in_channels = reader.integer("in_channels", 3, 1, kMaxVaeChannels);
  config.out_channels = reader.integer("out_channels", 3, 1, kMaxVaeChannels);
  config.latent_channels = reader.integer("latent_channels", 4, 1, kMaxVaeChannels);
  config.layers = reader.integer("layers_per_block", 1, 1, 64);
  config.norm_groups = reader.integer("norm_num_groups", 32, 1, kMaxVaeChannels);
  const bool is_pair = reader.at("sample_size").is_array();
  config.sample_size = reader.integers("sample_size", 32, is_pair ? 2 : 1, kMaxSize).front();
  config.quant_conv = reader.flag("use_quant_conv", true);
  config.post_quant_conv = reader.flag("use_post_quant_conv", true);
  config.mid_attention = reader.flag("mid_block_add_attention", true);
  read_scaling(reader, config);
  reader.finish("AutoencoderKL");
  for (const int64_t channels : config.channels)
    if (channels % config.norm_groups)
      config_error("block_out_channels", channels,
                   "a multiple of norm_num_groups = " + std::to_string(config.norm_groups));
  return config;
}

void expect_image(const Tensor& x, int64_t channels, int64_t smallest, const std::string& what) {
  if (x.size(1) != channels)
    throw Error("AutoencoderKL: got " + what + " with " + std::to_string(x.size(1)) +
                " channels, expected " + std::to_string(channels) + ".");
  if (x.size(2) < smallest || x.size(3) < smallest)
    throw Error("AutoencoderKL: got " + what + " of " + std::to_string(x.size(3)) + " x " +
                std::to_string(x.size(2)) + ", expected at least " + std::to_string(smallest) +
                " each way.");
}

Tensor each_alone(const Tensor& x, bool slicing, const std::function<Tensor(const Tensor&)>& run) {
  if (!slicing || x.size(0) == 1) return run(x);
  std::vector<Tensor> results;
  for (const Tensor& image : x.split(1)) results.push_back(run(image));
  return at::cat(results);
}

bool all_finite(const Tensor& x) { return x.sum(at::kDouble).isfinite().item<bool>(); }

/// A number for each channel, as a tensor that broadcasts over images.
Tensor by_channel(const std::vector<double>& values, const Tensor& like) {
  return at::tensor(values, like.options()).view({1, -1, 1, 1});
}

VaeShape shape_of(const AutoencoderKLConfig& config, int64_t layers) {
  return {config.channels, layers, config.norm_groups, config.mid_attention};
}

/// Runs images or their tiles, as the options say.
Tensor run_parts(const Tensor& x, const VaeOptions& options, const TileGrid& grid,
                 const std::function<Tensor(const Tensor&)>& net) {
  const bool tiled = options.tiling && (x.size(2) > grid.tile || x.size(3) > grid.tile);
  return each_alone(x, options.slicing, [&](const Tensor& image) {
    return tiled ? run_tiled(image, grid, net) : net(image);
  });
}

}  // namespace

Tensor scale_latents(const Tensor& latents, const AutoencoderKLConfig& config) {
  if (config.latents_mean.empty()) return (latents - config.shift_factor) * config.scaling_factor;
  return (latents - by_channel(config.latents_mean, latents)) *
         (config.scaling_factor / by_channel(config.latents_std, latents));
}

Tensor unscale_latents(const Tensor& latents, const AutoencoderKLConfig& config) {
  if (config.latents_mean.empty()) return latents / config.scaling_factor + config.shift_factor;
  return latents * (by_channel(config.latents_std, latents) / config.scaling_factor) +
         by_channel(config.latents_mean, latents);
}

Tensor LatentDistribution::sample(const Tensor& noise) const {
  return mean + (0.5 * logvar).exp() * noise.to(mean);
}

AutoencoderKL::AutoencoderKL(const Json& config, Weights& weights)
    : config_(read_kl_config(config)) {
  const int64_t latent = config_.latent_channels;
  encoder_ =
      take_vae_encoder(weights, shape_of(config_, config_.layers), config_.in_channels, 2 * latent);
  decoder_ = take_vae_decoder(weights, shape_of(config_, config_.layers + 1), latent,
                              config_.out_channels);
  if (config_.quant_conv) quant_ = take_conv(weights, "quant_conv", 2 * latent, 2 * latent, 1);
  if (config_.post_quant_conv)
    post_quant_ = take_conv(weights, "post_quant_conv", latent, latent, 1);
}

TileGrid AutoencoderKL::grid(const VaeOptions& options, bool encoding) const {
  if (!options.tiling) return {};
  const int64_t factor = config_.downscale();
  const int64_t size = options.tile_size ? options.tile_size : config_.sample_size;
  return encoding ? tile_grid(size, options.overlap, 1, factor)
                  : tile_grid(size / factor, options.overlap, factor, 1);
}

LatentDistribution AutoencoderKL::encode(const Tensor& images, const VaeOptions& options) const {
  expect_image(images, config_.in_channels, config_.downscale(), "images");
  const Tensor x = images.to(options.dtype.value_or(dtype()));
  const Tensor moments = run_parts(x, options, grid(options, true), [&](const Tensor& image) {
    const Tensor h = encoder_(image.contiguous(at::MemoryFormat::ChannelsLast));
    return quant_ ? apply(*quant_, h) : h;
  });
  const auto halves = moments.to(at::kFloat).chunk(2, 1);
  return {halves[0], halves[1].clamp(-30, 20)};
}

Tensor AutoencoderKL::decode(const Tensor& latents, const VaeOptions& options) const {
  expect_image(latents, config_.latent_channels, 1, "latents");
  const Tensor x = latents.to(options.dtype.value_or(dtype()));
  return run_parts(x, options, grid(options, false),
                   [&](const Tensor& part) {
                     const Tensor z = part.contiguous(at::MemoryFormat::ChannelsLast);
                     return decoder_(post_quant_ ? apply(*post_quant_, z) : z);
                   })
      .to(at::kFloat);
}

SafeDecoding AutoencoderKL::decode_safely(const Tensor& latents, const VaeOptions& options) const {
  if (!all_finite(latents))
    throw Error(
        "VAE: got latents with NaN or infinity, expected finite numbers. The denoiser "
        "overflowed: try --dtype bfloat16 or float32.");
  SafeDecoding result{decode(latents, options)};
  if (all_finite(result.images)) return result;
  VaeOptions wide = options;
  wide.dtype = at::kFloat;
  if (options.dtype.value_or(dtype()) != at::kFloat) result = {decode(latents, wide), true};
  if (!all_finite(result.images))
    throw Error(
        "VAE: got NaN or infinity in float32, expected finite numbers. Are its weights "
        "damaged?");
  return result;
}

}  // namespace tiller
