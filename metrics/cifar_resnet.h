#pragma once
/// The residual networks of CIFAR-10 (arXiv 1512.03385, section 4.2, option A), as
/// akamaster/pytorch_resnet_cifar10 trained them.
#include "metrics/conv_norm.h"

namespace tiller {

class CifarResNet {
 public:
  /// Any depth, read off the tensors. Throws Error naming what is missing or doesn't fit; `file` is
  /// for messages.
  CifarResNet(TensorFile, const std::string& file, at::Device device = at::kCPU);

  static constexpr int64_t side = 32;
  int64_t depth() const { return 2 * int64_t(blocks_.size()) + 2; }
  struct Outputs {
    Tensor pooled;  ///< (B, 64).
    Tensor logits;  ///< (B, 10).
  };
  /// x: (B, 3, 32, 32), in ImageNet's normalisation.
  Outputs operator()(const Tensor& x) const;

 private:
  ConvNorm stem_;
  std::vector<std::pair<ConvNorm, ConvNorm>> blocks_;
  Tensor classes_, class_bias_;
};

}  // namespace tiller
