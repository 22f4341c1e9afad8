#pragma once
#include "models/clip_vision.h"

namespace tiller {

/// A layer of IP-Adapter Plus's resampler: its queries attend to the image's states and themselves.
struct ResamplerLayer {
  LayerNorm norm_states, norm_queries, norm_feed;
  Linear q, kv, out, feed_in, feed_out;
  /// states: (B, N, C); queries: (B, L, C) to the same.
  Tensor operator()(const Tensor& states, const Tensor& queries) const;
};

/// What makes tokens for cross-attention of CLIP's view of an image: of the pooled state by one
/// linear layer (IP-Adapter), or of all states by a perceiver's resampler (Plus).
class ImageProjection {
 public:
  /// Takes the tensors `image_proj.*`, whose shapes say the rest. context: D. Throws Error where
  /// they are of another kind (FaceID, Full) or misshapen.
  ImageProjection(Weights&, const std::string& file, int64_t context);

  /// Plus: reads ImageStates::states.
  bool resamples() const { return queries_.defined(); }
  /// Width of the states that it reads.
  int64_t in_channels() const { return in_.weight.size(1); }
  /// Tokens (1, L, D) of an image.
  Tensor operator()(const ImageStates&) const;
  /// Tokens of no image, as the unconditional branch reads: of zeros in place of the pooled state,
  /// or (Plus) of the states of an image of zeros.
  Tensor nothing(const ClipVision&) const;

 private:
  void take_plain(Weights&, int64_t context);
  void take_resampler(Weights&, const std::string& file, int64_t context);
  Tensor project(const Tensor& input) const;

  int64_t context_ = 0;
  Linear in_, out_;
  LayerNorm norm_;
  Tensor queries_;
  std::vector<ResamplerLayer> layers_;
};

}  // namespace tiller
