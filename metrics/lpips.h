#pragma once
/// Learned perceptual image patch similarity, arXiv 1801.03924, version 0.1 of the PyPI package
/// lpips.
#include "models/layers.h"

namespace tiller {

/// A layer of the networks that LPIPS looks through: a convolution or a squeeze-and-expand block,
/// or, without any, max pooling. ReLU follows each convolution.
struct LpipsLayer {
  Conv2d squeeze;    ///< Undefined weight: none.
  Conv2d conv;       ///< 1x1 of the expansion where there is a squeeze.
  Conv2d expand;     ///< 3x3 of the expansion.
  int64_t pool = 0;  ///< Side of the pooling window, stride 2; 0: a convolution.
  bool pool_ceil = false;
  bool tap = false;  ///< Compared.
};

class Lpips {
 public:
  /// From one or two files, told apart by their tensors: the heads, as in the package's folder
  /// weights/v0.1 ("lin0.model.1.weight"), and torchvision's AlexNet, VGG16 or SqueezeNet 1.1
  /// ("features.0.weight"); a whole lpips.LPIPS state dict holds both. Throws Error naming what is
  /// missing or doesn't fit.
  explicit Lpips(const std::vector<fs::path>& files, at::Device device = at::kCPU);
  /// `file` is for messages.
  Lpips(TensorFile, const std::string& file, at::Device device = at::kCPU);

  /// "alex", "vgg" or "squeeze".
  const std::string& network() const { return network_; }
  /// Images with smaller sides leave nothing to compare.
  static constexpr int64_t smallest_side = 32;
  /// images: (B, 3, H, W) in [-1, 1], or uint8. Returns (B) distances in float32. Throws Error on
  /// smaller sides than the smallest.
  Tensor operator()(const Tensor& a, const Tensor& b) const;

 private:
  std::vector<Tensor> features(const Tensor& x) const;

  std::string network_;
  std::vector<LpipsLayer> layers_;
  std::vector<Tensor> heads_;  ///< (1, C, 1, 1), one a tap.
  at::Device device_;
};

}  // namespace tiller
