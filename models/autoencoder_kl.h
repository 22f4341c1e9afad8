#pragma once
#include <nlohmann/json.hpp>
#include <optional>

#include "models/autoencoder_blocks.h"
#include "models/tiling.h"

namespace tiller {

/// Keys of an AutoencoderKL's config.json.
struct AutoencoderKLConfig {
  int64_t in_channels = 3, out_channels = 3, latent_channels = 4;
  std::vector<int64_t> channels;  ///< One a stage, largest images first.
  int64_t layers = 1;             ///< Resnets of an encoder's stage; the decoder has one more.
  int64_t norm_groups = 32;
  int64_t sample_size = 32;  ///< Edge of diffusers' tiles in pixels.
  bool quant_conv = true, post_quant_conv = true, mid_attention = true;

  double scaling_factor = 0.18215;
  double shift_factor = 0;
  std::vector<double> latents_mean, latents_std;  ///< One a latent channel, or empty.
  bool force_upcast = true;                       ///< Overflows in float16.

  /// Pixels a latent in each direction.
  int64_t downscale() const { return int64_t{1} << (channels.size() - 1); }
};

/// From a VAE's latents to those that the denoiser works on, and back: scaling factor, shift, mean
/// and standard deviation, as diffusers' pipelines apply them. latents: (B, C, H, W).
Tensor scale_latents(const Tensor& latents, const AutoencoderKLConfig&);
Tensor unscale_latents(const Tensor& latents, const AutoencoderKLConfig&);

/// A diagonal normal distribution of latents, (B, C, H, W) each.
struct LatentDistribution {
  Tensor mean, logvar;
  /// mean + exp(logvar / 2) noise.
  Tensor sample(const Tensor& noise) const;
};

/// How to save memory. The result of tiling differs a little from that of the whole image.
struct VaeOptions {
  bool slicing = false;   ///< One image after the other.
  bool tiling = false;    ///< Overlapping tiles, blended: diffusers' enable_tiling.
  int64_t tile_size = 0;  ///< In pixels; 0: config().sample_size.
  double overlap = 0.25;  ///< Part of a tile that its neighbour covers too.
  /// Compute in this type, casting weights on the fly; absent: the weights' own.
  std::optional<at::ScalarType> dtype = {};
};

/// A decoded image, and whether it took a second, wider try.
struct SafeDecoding {
  Tensor images;
  bool retried = false;
};

/// diffusers' AutoencoderKL, the VAE of Stable Diffusion 1, 2 and XL.
class AutoencoderKL {
 public:
  /// Old names of attention tensors (query, key, value, proj_attn) and projections stored as 1x1
  /// convolutions are understood. Throws Error naming keys that are malformed or not supported.
  /// Call weights.finish() afterwards.
  AutoencoderKL(const nlohmann::json& config, Weights&);

  const AutoencoderKLConfig& config() const { return config_; }
  at::ScalarType dtype() const { return decoder_.conv_in.weight.scalar_type(); }

  /// images: (B, 3, H, W) in [-1, 1]. Float32 latents, not scaled, of sizes divided by
  /// config().downscale() and rounded down.
  LatentDistribution encode(const Tensor& images, const VaeOptions& = {}) const;
  /// latents: (B, C, h, w), not scaled. Float32 images, about [-1, 1], not clamped.
  Tensor decode(const Tensor& latents, const VaeOptions& = {}) const;
  /// As decode; where that gives NaN or infinity in half precision, once more in float32. Throws
  /// Error when the latents or the float32 images aren't finite.
  SafeDecoding decode_safely(const Tensor& latents, const VaeOptions& = {}) const;

 private:
  TileGrid grid(const VaeOptions&, bool encoding) const;

  AutoencoderKLConfig config_;
  VaeEncoder encoder_;
  VaeDecoder decoder_;
  std::optional<Conv2d> quant_, post_quant_;
};

}  // namespace tiller
