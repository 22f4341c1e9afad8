#pragma once
#include "models/layers.h"

namespace tiller {

/// A vision transformer's block before its attention's keys are known, and after.
struct VitBlock {
  LayerNorm norm1, norm2;
  Linear qkv, proj, fc1, fc2;
};

/// Distance of two images' structure (Tumanyan et al., arXiv 2201.00424): the mean squared
/// difference of the cosines between all pairs of an image's keys (class token included) in the
/// last layer of DINO's ViT. PIE-Bench takes it from ViT-B/8.
class StructureDistance {
 public:
  /// A state dict of facebookresearch/dino (dino_vitbase8_pretrain.pth) or of timm's like models;
  /// depth, width and patch are read off it; heads have 64 channels, as in all of DINO's. Throws
  /// Error naming what is missing or doesn't fit.
  explicit StructureDistance(const fs::path& file, at::Device device = at::kCPU);
  StructureDistance(TensorFile, const std::string& file, at::Device device = at::kCPU);

  /// Images are (3, H, W) uint8. They are scaled to the network's square, 224 x 224, by bilinear
  /// interpolation without antialiasing, as torchvision did when PIE-Bench was made, and their
  /// values of 0 to 255 normalised as if they were of 0 to 1, as PIE-Bench's code does: its
  /// published figures are so.
  double operator()(const Tensor& a, const Tensor& b) const;

 private:
  /// (N, C) of one image.
  Tensor keys(const Tensor& image) const;
  Tensor self_similarity(const Tensor& image) const;

  at::Device device_;
  int64_t side_ = 0, heads_ = 1;
  Conv2d patches_;
  Tensor class_token_, positions_;
  std::vector<VitBlock> blocks_;
};

}  // namespace tiller
