#pragma once
/// Networks through whose features sets of images are compared.
#include <functional>
#include <optional>

#include "io/file.h"
#include "io/options.h"
#include "metrics/resize.h"

namespace tiller {

/// What a network makes of B images. In float32; undefined: the network has none.
struct Features {
  Tensor pooled;   ///< (B, width).
  Tensor logits;   ///< (B, classes); Inception's without bias.
  Tensor spatial;  ///< (B, 2023): sFID's, Inception's alone.
};

struct FeatureNetwork {
  std::string name;      ///< "FID-Inception".
  std::string distance;  ///< What a Fréchet distance of its features is called: "FID", "FD-R56".
  std::string weights;   ///< The file.
  std::string hash;      ///< Its SHA-256's first 16 digits.
  std::string input;     ///< How images are brought to it: "299x299, pytorch-fid".
  int64_t width = 0;
  int64_t classes = 0;         ///< Of the logits; 0: none.
  bool cifar_classes = false;  ///< The logits are CIFAR-10's classes.
  bool spatial = false;        ///< It gives sFID's features.
  /// images: (B, 3, H, W) uint8, on any device.
  std::function<Features(const Tensor& images)> run;
};

/// A kind of network as --features names it.
struct FeatureKind {
  std::string name, description, paper;
  std::vector<Option> options;
  FeatureNetwork (*load)(const Options&, std::optional<ResizeRule>, at::Device);
};
const std::vector<FeatureKind>& feature_kinds();

/// From "NAME:key=value,...". resize: in place of the network's own rule. Throws UsageError on
/// unknown names and options, Error where the weights don't fit.
FeatureNetwork load_features(const std::string& text, std::optional<ResizeRule> resize = {},
                             at::Device device = at::kCPU);

/// "pytorch-fid", "tf1", "clean" or "bicubic".
ResizeRule resize_rule_from(const std::string& flag, const std::string& name);
std::string name_of(ResizeRule);

/// Where EfficientNet-Lite0's weights lie unless a file is named: what set-up fetched.
fs::path efficientnet_file();

}  // namespace tiller
