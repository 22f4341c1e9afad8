#pragma once
#include <optional>

#include "models/clip_text.h"
#include "models/clip_vision.h"
#include "models/prompt.h"

namespace tiller {

/// How well an image and a text go together, by CLIP.
class ClipSimilarity {
 public:
  /// A folder as transformers' CLIPModel writes it: config.json, weights, tokenizer. Throws Error
  /// naming what is missing or doesn't fit.
  explicit ClipSimilarity(const fs::path& folder, at::Device device = at::kCPU);

  /// 100 cos of both embeddings, as torchmetrics' CLIPScore of one pair (which shows no less than
  /// 0). image: (3, H, W) uint8, scaled and cropped as CLIP's processor does; text: its first 77
  /// tokens count.
  double operator()(const Tensor& image, const std::string& text) const;

 private:
  Tensor image_embedding(const Tensor& image) const;
  Tensor text_embedding(const std::string& text) const;

  at::Device device_;
  std::optional<ClipTokenizer> tokenizer_;
  std::optional<ClipVision> vision_;
  std::optional<ClipText> text_;
};

}  // namespace tiller
