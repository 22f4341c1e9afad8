#pragma once
#include <functional>
#include <future>
#include <variant>

#include "models/autoencoder_kl.h"
#include "models/autoencoder_tiny.h"

namespace tiller {

/// Between pixels and the latents that a network works on, by whichever autoencoder a model has.
struct Autoencoder {
  std::variant<AutoencoderKL, AutoencoderTiny> network;
  at::Device device = at::kCPU;
  NamedTensors parameters = {};  ///< The network's tensors.
  /// The same with the tensors that this one, of the meta device, stands for; not valid: it has its
  /// own.
  std::shared_future<std::shared_ptr<const Autoencoder>> arriving = {};

  /// That with tensors: waits for the one that arrives. Throws what loading it threw.
  const Autoencoder& arrived() const;
  int64_t downscale() const;  ///< Pixels a latent's side.
  int64_t channels() const;   ///< Of a latent.
  bool draws() const;         ///< Whether encoding draws from a distribution.
};

/// From a diffusers VAE's config and weights, told by their `_class_name`. Call weights.finish()
/// afterwards, for `parameters`.
Autoencoder autoencoder(const nlohmann::json& config, Weights&, at::Device device = at::kCPU);

/// An autoencoder for `device` whose tensors `load` brings there, beside whatever comes next.
/// Encoding and decoding wait for it and throw what it threw. plan: the same with tensors of the
/// meta device.
Autoencoder loaded_beside(Autoencoder plan, at::Device device, std::function<Autoencoder()> load);

/// images: (B, 3, H, W) in [-1, 1]; noise: (B, C, h, w), from which a distribution is sampled.
/// Returns scaled latents, float32.
Tensor encode_images(const Autoencoder&, const Tensor& images, const Tensor& noise,
                     const VaeOptions& = {});

/// The likeliest latents of images as the autoencoder itself has them, not scaled: float32. A TAESD
/// has but scaled ones, which are divided by `scaling`.
Tensor encode_unscaled(const Autoencoder&, const Tensor& images, double scaling,
                       const VaeOptions& = {});

/// latents: (B, C, h, w), scaled. Returns float32 images in about [-1, 1]. Where half precision
/// overflows it says so on standard error and decodes in float32.
Tensor decode_latents(const Autoencoder&, const Tensor& latents, const VaeOptions& = {});

}  // namespace tiller
