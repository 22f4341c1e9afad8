#include "metrics/lpips.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "io/image.h"
#include "metrics/normalise.h"

namespace tiller {
namespace {

constexpr double shift[] = {-.030, -.088, -.188}, scale[] = {.458, .448, .450};

/// A row of torchvision's tables: index in `features`, channels that it gives (0: it pools), of its
/// squeeze (0: it has none), its kernel, stride and padding, and whether it is compared.
struct Row {
  int64_t index, channels, squeeze, kernel, stride, padding;
  bool tap;
};

const std::vector<Row>& rows_of(const std::string& network) {
  static const std::vector<Row> alex = {
      {0, 64, 0, 11, 4, 2, true},  {2, 0, 0, 3, 2, 0, false},  {3, 192, 0, 5, 1, 2, true},
      {5, 0, 0, 3, 2, 0, false},   {6, 384, 0, 3, 1, 1, true}, {8, 256, 0, 3, 1, 1, true},
      {10, 256, 0, 3, 1, 1, true},
  };
  static const std::vector<Row> vgg = {
      {0, 64, 0, 3, 1, 1, false},   {2, 64, 0, 3, 1, 1, true},    {4, 0, 0, 2, 2, 0, false},
      {5, 128, 0, 3, 1, 1, false},  {7, 128, 0, 3, 1, 1, true},   {9, 0, 0, 2, 2, 0, false},
      {10, 256, 0, 3, 1, 1, false}, {12, 256, 0, 3, 1, 1, false}, {14, 256, 0, 3, 1, 1, true},
      {16, 0, 0, 2, 2, 0, false},   {17, 512, 0, 3, 1, 1, false}, {19, 512, 0, 3, 1, 1, false},
      {21, 512, 0, 3, 1, 1, true},  {23, 0, 0, 2, 2, 0, false},   {24, 512, 0, 3, 1, 1, false},
      {26, 512, 0, 3, 1, 1, false}, {28, 512, 0, 3, 1, 1, true},
  };
  static const std::vector<Row> squeeze = {
      {0, 64, 0, 3, 2, 0, true},    {2, 0, 0, 3, 2, 0, false},    {3, 128, 16, 3, 1, 1, false},
      {4, 128, 16, 3, 1, 1, true},  {5, 0, 0, 3, 2, 0, false},    {6, 256, 32, 3, 1, 1, false},
      {7, 256, 32, 3, 1, 1, true},  {8, 0, 0, 3, 2, 0, false},    {9, 384, 48, 3, 1, 1, true},
      {10, 384, 48, 3, 1, 1, true}, {11, 512, 64, 3, 1, 1, true}, {12, 512, 64, 3, 1, 1, true},
  };
  return network == "alex" ? alex : network == "vgg" ? vgg : squeeze;
}

/// "net.slice2.3.weight" to "features.3.weight"; "lins.0.", which a whole state dict has beside
/// "lin0.", to "". What isn't used is "".
std::string plain_name(const std::string& name) {
  if (name.starts_with("features.") || (name.starts_with("lin") && !name.starts_with("lins.")))
    return name;
  const std::string slice = "net.slice";
  const size_t dot = name.find('.', slice.size());
  return name.starts_with(slice) && dot != name.npos ? "features" + name.substr(dot) : "";
}

TensorFile only_used(TensorFile file) {
  TensorFile used;
  for (auto& [name, tensor] : file.tensors)
    if (const std::string plain = plain_name(name); !plain.empty())
      used.tensors.emplace_back(plain, std::move(tensor));
  return used;
}

std::string names_of(const std::vector<fs::path>& files) {
  std::vector<std::string> names;
  for (const auto& file : files) names.push_back(file.string());
  return enumerate(names);
}

TensorFile load_all(const std::vector<fs::path>& files) {
  TensorFile all;
  for (const auto& path : files)
    for (auto& entry : load_tensors(path).tensors) all.tensors.push_back(std::move(entry));
  return all;
}

/// Told by the layers that one of them alone has.
std::string network_in(const Weights& weights, const std::string& file) {
  if (weights.has("features.3.squeeze.weight")) return "squeeze";
  if (weights.has("features.28.weight")) return "vgg";
  if (weights.has("features.10.weight")) return "alex";
  throw Error(file +
              ": got no network, expected torchvision's AlexNet, VGG16 or SqueezeNet 1.1 "
              "(features.0.weight and so on) beside LPIPS's heads.");
}

Conv2d take(Weights& weights, const std::string& name, int64_t in, int64_t out, const Row& row,
            int64_t kernel) {
  Conv2d conv = take_conv(weights, name, in, out, kernel, row.stride);
  conv.padding = kernel == 1 ? 0 : row.padding;
  return conv;
}

LpipsLayer take_layer(Weights& weights, const Row& row, int64_t in, bool ceil) {
  LpipsLayer layer;
  layer.tap = row.tap;
  const std::string name = "features." + std::to_string(row.index);
  if (row.channels == 0) {
    layer.pool = row.kernel;
    layer.pool_ceil = ceil;
  } else if (row.squeeze == 0) {
    layer.conv = take(weights, name, in, row.channels, row, row.kernel);
  } else {
    layer.squeeze = take(weights, name + ".squeeze", in, row.squeeze, row, 1);
    layer.conv = take(weights, name + ".expand1x1", row.squeeze, row.channels / 2, row, 1);
    layer.expand = take(weights, name + ".expand3x3", row.squeeze, row.channels / 2, row, 3);
  }
  return layer;
}

Tensor apply(const LpipsLayer& layer, const Tensor& x) {
  const int64_t side = layer.pool;
  if (side) return at::max_pool2d(x, {side, side}, {2, 2}, {0, 0}, {1, 1}, layer.pool_ceil);
  if (!layer.squeeze.weight.defined()) return at::relu(layer.conv(x));
  const Tensor squeezed = at::relu(layer.squeeze(x));
  return at::cat({at::relu(layer.conv(squeezed)), at::relu(layer.expand(squeezed))}, 1);
}

Tensor scaled(const Tensor& images, at::Device device) {
  const Tensor floats = images.scalar_type() == at::kByte ? from_bytes(images) : images;
  return normalised(floats.to(device, at::kFloat), shift, scale);
}

Tensor of_unit_channels(const Tensor& x) { return x / (x.square().sum(1, true).sqrt() + 1e-10); }

}  // namespace

Lpips::Lpips(const std::vector<fs::path>& files, at::Device device)
    : Lpips(load_all(files), names_of(files), device) {}

Lpips::Lpips(TensorFile tensors, const std::string& file, at::Device device) : device_(device) {
  Weights weights(only_used(std::move(tensors)), file, at::kFloat, device);
  network_ = network_in(weights, file);
  int64_t channels = 3;
  for (const Row& row : rows_of(network_)) {
    layers_.push_back(take_layer(weights, row, channels, network_ == "squeeze"));
    if (row.channels) channels = row.channels;
    if (row.tap)
      heads_.push_back(weights.take("lin" + std::to_string(heads_.size()) + ".model.1.weight",
                                    {1, channels, 1, 1}));
  }
  weights.finish();
}

std::vector<Tensor> Lpips::features(const Tensor& x) const {
  std::vector<Tensor> taps;
  Tensor h = x;
  for (const auto& layer : layers_) {
    h = apply(layer, h);
    if (layer.tap) taps.push_back(of_unit_channels(h));
  }
  return taps;
}

Tensor Lpips::operator()(const Tensor& a, const Tensor& b) const {
  if (std::min(a.size(2), a.size(3)) < smallest_side)
    throw Error("lpips: got images of " + std::to_string(a.size(3)) + "x" +
                std::to_string(a.size(2)) + ", expected sides of at least " +
                std::to_string(smallest_side) + ".");
  const auto x = features(scaled(a, device_)), y = features(scaled(b, device_));
  Tensor distance = at::zeros({a.size(0)}, x.front().options());
  for (size_t i = 0; i < heads_.size(); ++i)
    distance += at::conv2d((x[i] - y[i]).square(), heads_[i]).mean({1, 2, 3});
  return distance.to(at::kCPU);
}

}  // namespace tiller
