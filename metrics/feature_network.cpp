#include "metrics/feature_network.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "io/error.h"
#include "io/hash.h"
#include "io/shared_file.h"
#include "metrics/cifar_resnet.h"
#include "metrics/efficientnet_lite.h"
#include "metrics/inception.h"
#include "metrics/normalise.h"
#include "metrics/script_network.h"

namespace tiller {
namespace {

struct Named {
  std::string name;
  ResizeRule rule;
};
const std::vector<Named>& resize_rules() {
  static const std::vector<Named> all = {{"pytorch-fid", ResizeRule::bilinear},
                                         {"tf1", ResizeRule::tf1},
                                         {"clean", ResizeRule::clean},
                                         {"bicubic", ResizeRule::bicubic}};
  return all;
}

/// The values that a network was trained on.
struct Normalisation {
  std::string name;
  std::array<double, 3> mean, deviation;  ///< Of values of 0 to 255.
};
const std::vector<Normalisation>& normalisations() {
  static const std::vector<Normalisation> all = {
      {"imagenet", {123.675, 116.28, 103.53}, {58.395, 57.12, 57.375}},
      {"clip", {122.7709383, 116.7460125, 104.09373615}, {68.5005327, 66.6321579, 70.32316365}},
      {"signed", {127.5, 127.5, 127.5}, {127.5, 127.5, 127.5}},
      {"unit", {0, 0, 0}, {255, 255, 255}},
      {"none", {0, 0, 0}, {1, 1, 1}}};
  return all;
}

Tensor brought_to(const Tensor& images, int64_t side, ResizeRule rule, const Normalisation& by) {
  return normalised(resize_values(images, side, side, rule), by.mean, by.deviation);
}

std::string described(int64_t side, ResizeRule rule) {
  const std::string length = std::to_string(side);
  return length + "x" + length + ", " + name_of(rule);
}

std::string file_option(const Options& options, const std::string& kind,
                        const std::string& option) {
  const std::string file = options.text(option);
  if (file.empty())
    throw UsageError("--features " + kind + ": got no " + option + "=FILE, expected its weights.");
  return file;
}

FeatureNetwork network_of(const std::string& file) {
  return {.weights = file, .hash = sha256_hex(file).substr(0, 16)};
}

/// TensorFlow's network has values less 128 over 128; pytorch-fid's port others.
Tensor inception_input(const Tensor& images, ResizeRule rule) {
  const Tensor values = resize_values(images, FidInception::side, FidInception::side, rule);
  return rule == ResizeRule::bilinear ? values * (2.0 / 255) - 1 : (values - 128) / 128;
}

FeatureNetwork inception(const Options& options, std::optional<ResizeRule> resize,
                         at::Device device) {
  const std::string file = file_option(options, "inception", "weights");
  const int64_t dims = std::stoll(options.choice("dims", {"64", "192", "768", "2048"}));
  const ResizeRule rule = resize.value_or(ResizeRule::bilinear);
  FeatureNetwork network = network_of(file);
  network.name = "FID-Inception";
  network.distance = dims == 2048 ? "FID" : "FID-" + std::to_string(dims);
  network.input = described(FidInception::side, rule);
  network.width = dims;
  network.classes = dims == 2048 ? 1008 : 0;
  network.spatial = dims == 2048;
  const auto net = std::make_shared<FidInception>(load_tensors(file), file, device, dims);
  network.run = [net, rule, device](const Tensor& images) {
    const InceptionFeatures f = (*net)(inception_input(images.to(device), rule));
    return Features{f.pooled, f.logits, f.spatial};
  };
  return network;
}

FeatureNetwork efficientnet(const Options& options, std::optional<ResizeRule> resize,
                            at::Device device) {
  const fs::path file =
      options.has("weights") ? fs::path(options.text("weights")) : efficientnet_file();
  const auto side = options.integer("size");
  if (side < 32 || side > 1024)
    throw UsageError("size: got " + options.text("size") + ", expected 32 to 1024.");
  const ResizeRule rule = resize.value_or(ResizeRule::clean);
  FeatureNetwork network = network_of(file.string());
  network.name = "EfficientNet-Lite0";
  network.distance = "FD-EffLite0";
  network.input = described(side, rule);
  network.width = 1280;
  network.classes = 1000;
  const auto net = std::make_shared<EfficientNetLite>(load_tensors(file), file.string(), device);
  network.run = [net, rule, side, device](const Tensor& images) {
    const auto f = (*net)(brought_to(images.to(device), side, rule, normalisations().front()));
    return Features{f.pooled, f.logits, {}};
  };
  return network;
}

FeatureNetwork cifar_resnet(const Options& options, std::optional<ResizeRule> resize,
                            at::Device device) {
  const std::string file = file_option(options, "cifar-resnet", "weights");
  const ResizeRule rule = resize.value_or(ResizeRule::clean);
  FeatureNetwork network = network_of(file);
  const auto net = std::make_shared<CifarResNet>(load_tensors(file), file, device);
  const std::string depth = std::to_string(net->depth());
  network.name = "CIFAR ResNet-" + depth;
  network.distance = "FD-R" + depth;
  network.input = described(CifarResNet::side, rule);
  network.width = 64;
  network.classes = 10;
  network.cifar_classes = true;
  network.run = [net, rule, device](const Tensor& images) {
    const auto f =
        (*net)(brought_to(images.to(device), CifarResNet::side, rule, normalisations().front()));
    return Features{f.pooled, f.logits, {}};
  };
  return network;
}

const Normalisation& normalisation_from(const Options& options) {
  std::vector<std::string> names;
  for (const auto& each : normalisations()) names.push_back(each.name);
  const std::string name = options.choice("normalise", names);
  for (const auto& each : normalisations())
    if (each.name == name) return each;
  return normalisations().front();
}

FeatureNetwork script(const Options& options, std::optional<ResizeRule> resize, at::Device device) {
  const std::string file = file_option(options, "script", "file");
  const auto side = options.integer("size");
  if (side < 0 || side > 2048)
    throw UsageError("size: got " + options.text("size") + ", expected 0 to 2048.");
  const ResizeRule rule = resize.value_or(ResizeRule::clean);
  const Normalisation& by = normalisation_from(options);
  FeatureNetwork network = network_of(file);
  network.name =
      options.text("name").empty() ? fs::path(file).stem().string() : options.text("name");
  network.distance = "FD-" + network.name;
  network.input = (side ? described(side, rule) : "their own size") + ", " + by.name;
  const auto forward = load_script(file, device);
  const auto run = [forward, side, rule, by, device](const Tensor& images) {
    const Tensor values =
        side ? resize_values(images.to(device), side, side, rule) : images.to(device, at::kFloat);
    return Features{
        forward(normalised(values, by.mean, by.deviation)).flatten(1).to(at::kFloat), {}, {}};
  };
  const int64_t probe = side ? side : 299;
  network.width = run(at::zeros({1, 3, probe, probe}, at::kByte)).pooled.size(1);
  network.run = run;
  return network;
}

}  // namespace

const std::vector<FeatureKind>& feature_kinds() {
  static const std::vector<FeatureKind> all = {
      {"efficientnet-lite0",
       "ImageNet's EfficientNet-Lite0, whose weights set-up fetches: the default",
       "1905.11946",
       {{"weights", "", "efficientnet-lite0-57934424.pth, where it lies elsewhere"},
        {"size", "224", "side of what the network sees"}},
       efficientnet},
      {"inception",
       "FID's own network: pt_inception-2015-12-05-6726825d.pth or its safetensors form",
       "1706.08500",
       {{"weights", "", "the file"}, {"dims", "2048", "64, 192, 768 or 2048 features"}},
       inception},
      {"cifar-resnet",
       "a CIFAR-10 ResNet, as resnet56-4bfd9763.th: FD-R56 and class accuracy",
       "1512.03385",
       {{"weights", "", "the file"}},
       cifar_resnet},
      {"script",
       "any TorchScript file: DINOv2, CLIP, NVIDIA's Inception; its code runs",
       "",
       {{"file", "", "the file"},
        {"size", "224", "side of what the network sees; 0: the images' own"},
        {"normalise", "imagenet", "imagenet, clip, signed (-1 to 1), unit (0 to 1) or none"},
        {"name", "", "for the labels of figures; default: the file's"}},
       script}};
  return all;
}

FeatureNetwork load_features(const std::string& text, std::optional<ResizeRule> resize,
                             at::Device device) {
  const std::string name = text.substr(0, text.find(':'));
  const std::string rest = name.size() == text.size() ? "" : text.substr(name.size() + 1);
  std::vector<std::string> names;
  for (const auto& kind : feature_kinds()) {
    names.push_back(kind.name);
    if (kind.name != name) continue;
    const c10::InferenceMode no_grad;
    FeatureNetwork network =
        kind.load(parse_options("--features " + name, rest, kind.options), resize, device);
    network.run = [run = network.run](const Tensor& images) {
      const c10::InferenceMode guard;
      return run(images);
    };
    return network;
  }
  throw UsageError("--features: got '" + printable(name) + "', expected one of " +
                   enumerate(names) + "." + suggestion(name, names));
}

ResizeRule resize_rule_from(const std::string& flag, const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [known, rule] : resize_rules()) {
    if (known == name) return rule;
    names.push_back(known);
  }
  throw UsageError(flag + ": got '" + printable(name) + "', expected one of " + enumerate(names) +
                   "." + suggestion(name, names));
}

std::string name_of(ResizeRule rule) {
  for (const auto& [name, known] : resize_rules())
    if (known == rule) return name;
  return "";
}

fs::path efficientnet_file() {
  return find_shared_file(fs::path("features") / "efficientnet-lite0-57934424.pth",
                          "EfficientNet-Lite0's weights",
                          "Run scripts/feature_network.sh in the sources, or name the file: "
                          "--features efficientnet-lite0:weights=FILE.");
}

}  // namespace tiller
