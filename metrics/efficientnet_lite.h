#pragma once
/// EfficientNet-Lite0 (arXiv 1905.11946 without swish and squeeze-and-excitation), as the PyPI
/// package efficientnet-lite-pytorch has it.
#include "metrics/conv_norm.h"

namespace tiller {

/// Widened by 1x1, filtered depthwise, narrowed by 1x1; ReLU6 behind the first two.
struct InvertedBottleneck {
  ConvNorm expand, depthwise, project;  ///< expand: undefined weight where nothing is widened.
  bool skip;                            ///< The input is added.
};

class EfficientNetLite {
 public:
  /// The tensors of efficientnet-lite0-57934424.pth. Throws Error naming what is missing or doesn't
  /// fit; `file` is for messages.
  EfficientNetLite(TensorFile, const std::string& file, at::Device device = at::kCPU);

  /// What it was trained on.
  static constexpr int64_t side = 224;
  struct Outputs {
    Tensor pooled;  ///< (B, 1280).
    Tensor logits;  ///< (B, 1000), of ImageNet.
  };
  /// x: (B, 3, H, W), in ImageNet's normalisation.
  Outputs operator()(const Tensor& x) const;

 private:
  ConvNorm stem_, head_;
  std::vector<InvertedBottleneck> blocks_;
  Tensor classes_, class_bias_;
};

}  // namespace tiller
