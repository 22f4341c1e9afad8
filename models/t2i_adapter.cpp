#include "models/t2i_adapter.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <optional>
#include <regex>

#include "io/error.h"
#include "io/json.h"
#include "io/tensor_file.h"
#include "models/config_reader.h"
#include "models/diffusers_folder.h"
#include "models/layers.h"
#include "models/single_file_parts.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

enum class T2IKind { full, full_xl, light };

struct T2IConfig {
  T2IKind kind = T2IKind::full;
  int64_t in_channels = 3, resnets = 2, downscale = 8;
  std::vector<int64_t> channels;
};

/// A ReLU between two convolutions, and a residual around them.
struct T2IResnet {
  Conv2d block1, block2;
  Tensor operator()(const Tensor& x) const { return x + block2(at::relu(block1(x))); }
};

struct T2IBlock {
  bool down = false;  ///< Halves the size first.
  std::optional<Conv2d> in, out;
  std::vector<T2IResnet> resnets;
  Tensor operator()(const Tensor& x) const;
};

Tensor T2IBlock::operator()(const Tensor& x) const {
  Tensor h = down ? at::avg_pool2d(x, 2, 2, 0, /*ceil_mode=*/true) : x;
  if (in) h = (*in)(h);
  for (const auto& resnet : resnets) h = resnet(h);
  return out ? (*out)(h) : h;
}

T2IConfig t2i_config(const Json& json) {
  constexpr int64_t kWidest = 16'384, kStages = 8;
  ConfigReader reader(json);
  T2IConfig config;
  const std::string type =
      reader.word("adapter_type", {"full_adapter", "full_adapter_xl", "light_adapter"});
  config.kind = type == "light_adapter"     ? T2IKind::light
                : type == "full_adapter_xl" ? T2IKind::full_xl
                                            : T2IKind::full;
  config.in_channels = reader.integer("in_channels", 3, 1, 3);
  if (config.in_channels == 2) config_error("in_channels", 2, "1 or 3");
  config.resnets = reader.integer("num_res_blocks", 2, 1, 16);
  config.downscale = reader.integer("downscale_factor", 8, 1, 64);
  const Json& list = reader.at("channels");
  const size_t count = list.is_array() ? list.size() : 4;
  if (count < 1 || count > kStages)
    config_error("channels", list, "1 to " + std::to_string(kStages) + " widths");
  config.channels = list.is_null() ? std::vector<int64_t>{320, 640, 1280, 1280}
                                   : reader.integers("channels", 320, count, kWidest);
  return config;
}

T2IBlock take_t2i_block(Weights& weights, const std::string& name, const T2IConfig& config,
                        int64_t in, int64_t out, bool down) {
  const bool light = config.kind == T2IKind::light;
  const int64_t width = light ? std::max<int64_t>(1, out / 4) : out;
  T2IBlock block{.down = down, .in = {}, .out = {}, .resnets = {}};
  if (light || in != out) block.in = take_conv(weights, name + ".in_conv", in, width, 1);
  for (int64_t i = 0; i < config.resnets; ++i) {
    const std::string resnet = name + ".resnets." + std::to_string(i);
    block.resnets.push_back({take_conv(weights, resnet + ".block1", width, width, 3),
                             take_conv(weights, resnet + ".block2", width, width, light ? 3 : 1)});
  }
  if (light) block.out = take_conv(weights, name + ".out_conv", width, out, 1);
  return block;
}

/// The light one's last width counts twice; SDXL's halves the size once.
std::vector<T2IBlock> take_body(Weights& weights, const T2IConfig& config, int64_t channels) {
  std::vector<int64_t> widths = config.channels;
  if (config.kind == T2IKind::light) widths.push_back(widths.back());
  std::vector<T2IBlock> body;
  for (size_t i = 0; i < widths.size(); ++i) {
    const bool down = config.kind == T2IKind::full_xl ? i == 2 : i > 0;
    body.push_back(take_t2i_block(weights, "adapter.body." + std::to_string(i), config,
                                  std::exchange(channels, widths[i]), widths[i], down));
  }
  return body;
}

/// (1, 1, H, W): Pillow's conversion of bytes to "L".
Tensor gray(const Tensor& image) {
  const Tensor bytes = (image * 255).round().to(at::kLong);
  const Tensor sum =
      bytes.select(1, 0) * 19595 + bytes.select(1, 1) * 38470 + bytes.select(1, 2) * 7471 + 0x8000;
  return sum.bitwise_right_shift(16).unsqueeze(1).to(at::kFloat) / 255;
}

constexpr const char* kOriginalMark = "body.0.block1.weight";
constexpr int64_t kOriginalResnets = 2, kOriginalDownscale = 8;

/// "body.5.block1.weight" of the authors' files is "adapter.body.2.resnets.1.block1.weight".
std::string diffusers_name(const std::string& name) {
  static const std::regex layer("body\\.(\\d{1,3})\\.(.*)");
  std::smatch match;
  if (!std::regex_match(name, match, layer)) return "adapter." + name;
  const int64_t index = std::stoll(match[1]);
  const std::string block = "adapter.body." + std::to_string(index / kOriginalResnets) + ".",
                    rest = match[2];
  return rest.starts_with("in_conv")
             ? block + rest
             : block + "resnets." + std::to_string(index % kOriginalResnets) + "." + rest;
}

/// An adapter in the authors' layout, whose config follows from its tensors.
Component original_component(const TensorFile& file, const fs::path& path) {
  Component component{{{"_class_name", "T2IAdapter"}}, path.string(), {}};
  const int64_t pixels = kOriginalDownscale * kOriginalDownscale;
  std::map<std::string, int64_t> widths;  // the stages' names in order: there are at most 4
  for (const auto& [name, tensor] : file.tensors) {
    const std::string renamed = diffusers_name(name);
    if (renamed.ends_with(".resnets.0.block1.weight") && tensor.dim() == 4)
      widths[renamed] = tensor.size(0);
    if (name == "conv_in.weight" && tensor.dim() == 4)
      component.config["in_channels"] = tensor.size(1) / pixels;
    component.tensors.emplace_back(renamed, tensor);
  }
  component.config["channels"] = Json::array();
  for (const auto& [name, width] : widths) component.config["channels"].push_back(width);
  return component;
}

Component adapter_component(const fs::path& path, bool half) {
  if (fs::is_directory(path)) return component_in(path, half);
  TensorFile file = map_tensors(path);
  if (has(file, kOriginalMark)) return original_component(file, path);
  return {read_json_object(path.parent_path() / "config.json"), path.string(),
          std::move(file.tensors)};
}

}  // namespace

bool is_t2i_adapter(const fs::path& path) {
  if (fs::is_regular_file(path) && has(map_tensors(path), kOriginalMark)) return true;
  return lone_part(fs::is_directory(path) ? path : path.parent_path()) == "T2IAdapter";
}

std::vector<Tensor> t2i_features(const fs::path& path, const Tensor& image, at::ScalarType dtype,
                                 at::Device device) {
  Component component = adapter_component(path, dtype != at::kFloat);
  const T2IConfig config = t2i_config(component.config);
  if (image.size(2) % config.downscale || image.size(3) % config.downscale)
    throw Error(path.string() + ": got an image of " + std::to_string(image.size(3)) + "x" +
                std::to_string(image.size(2)) + " pixels, expected multiples of its " +
                std::to_string(config.downscale) + ".");
  Weights weights({std::move(component.tensors), {}}, component.file, dtype, device);
  int64_t channels = config.in_channels * config.downscale * config.downscale;
  std::optional<Conv2d> first;
  if (config.kind != T2IKind::light) {
    first = take_conv(weights, "adapter.conv_in", channels, config.channels.front(), 3);
    channels = config.channels.front();
  }
  const std::vector<T2IBlock> body = take_body(weights, config, channels);
  weights.finish();
  Tensor h = at::pixel_unshuffle(config.in_channels == 1 ? gray(image) : image, config.downscale)
                 .to(device, dtype)
                 .contiguous(at::MemoryFormat::ChannelsLast);
  if (first) h = (*first)(h);
  std::vector<Tensor> features;
  for (const auto& block : body) features.push_back(h = block(h));
  return features;
}

}  // namespace tiller
