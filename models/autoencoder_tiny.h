#pragma once
#include <nlohmann/json.hpp>
#include <optional>

#include "models/layers.h"

namespace tiller {

/// Keys of an AutoencoderTiny's config.json.
struct AutoencoderTinyConfig {
  int64_t in_channels = 3, out_channels = 3, latent_channels = 4;
  std::vector<int64_t> encoder_channels, decoder_channels;  ///< One a stage.
  std::vector<int64_t> encoder_blocks, decoder_blocks;      ///< One a stage.
  int64_t upsampling = 2;
  double scaling_factor = 1, shift_factor = 0;
};

/// Three convolutions with ReLU between, a residual around and ReLU after.
struct TinyBlock {
  Conv2d conv0, conv2, conv4;
  Tensor operator()(const Tensor& x) const;
};

/// A convolution, then blocks. upsampling: before the convolution; 1: none.
struct TinyStage {
  Conv2d conv;
  int64_t upsampling = 1;
  bool relu = false;  ///< After the convolution.
  std::vector<TinyBlock> blocks;
};

/// diffusers' AutoencoderTiny (TAESD): a small autoencoder for the latents of Stable Diffusion. It
/// takes and gives latents as the denoiser has them, already scaled.
class AutoencoderTiny {
 public:
  /// An empty object as config gives TAESD itself. Throws Error naming keys that are malformed or
  /// not supported. Call weights.finish() afterwards.
  AutoencoderTiny(const nlohmann::json& config, Weights&);

  const AutoencoderTinyConfig& config() const { return config_; }
  /// images: (B, 3, H, W) in [-1, 1]. Float32 latents (B, 4, H / 8, W / 8).
  Tensor encode(const Tensor& images) const;
  /// latents: (B, 4, h, w). Float32 images (B, 3, 8 h, 8 w), about [-1, 1], not clamped.
  Tensor decode(const Tensor& latents) const;

 private:
  AutoencoderTinyConfig config_;
  std::vector<TinyStage> encoder_, decoder_;
};

/// diffusers' names for the tensors of the original taesd_encoder and taesd_decoder files
/// ("1.conv.0.weight").
NamedTensors taesd_tensors(const NamedTensors& encoder, const NamedTensors& decoder);

/// Whose latents: those of Stable Diffusion 1 and 2, or of XL.
enum class LatentFamily { sd, sdxl };

/// A rough picture of latents, without a network: a linear map of each position. latents:
/// (B, 4, h, w) as the denoiser has them. Returns (B, 3, h, w) in [-1, 1], clamped. The factors are
/// those of ComfyUI's latent_formats.py (SD15, SDXL).
Tensor latent_rgb(const Tensor& latents, LatentFamily);

}  // namespace tiller
