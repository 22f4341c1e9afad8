#include "models/autoencoder.h"

#include <ATen/ATen.h>

#include <iostream>

#include "models/device.h"

namespace tiller {
namespace {

constexpr int64_t kTinyDownscale = 8;

/// A VAE that overflows in float16 says so in its config.
VaeOptions widened(const AutoencoderKL& vae, VaeOptions options) {
  if (vae.config().force_upcast && vae.dtype() == at::kHalf) options.dtype = at::kFloat;
  return options;
}

}  // namespace

int64_t Autoencoder::downscale() const {
  const auto* kl = std::get_if<AutoencoderKL>(&network);
  return kl ? kl->config().downscale() : kTinyDownscale;
}

int64_t Autoencoder::channels() const {
  return std::visit([](const auto& vae) { return vae.config().latent_channels; }, network);
}

bool Autoencoder::draws() const { return std::holds_alternative<AutoencoderKL>(network); }

const Autoencoder& Autoencoder::arrived() const {
  return arriving.valid() ? *arriving.get() : *this;
}

Autoencoder autoencoder(const nlohmann::json& config, Weights& weights, at::Device device) {
  const auto name = config.find("_class_name");
  if (name != config.end() && *name == "AutoencoderTiny")
    return {AutoencoderTiny(config, weights), device};
  return {AutoencoderKL(config, weights), device};
}

Autoencoder loaded_beside(Autoencoder plan, at::Device device, std::function<Autoencoder()> load) {
  plan.device = device;
  plan.arriving = std::async(std::launch::async, [device, load = std::move(load)]() mutable {
    std::shared_ptr<const Autoencoder> vae;
    on_own_stream(device, [&] { vae = std::make_shared<Autoencoder>(load()); });
    load = nullptr;  // and with it the file's tensors: the future keeps this function
    return vae;
  });
  return plan;
}

Tensor encode_images(const Autoencoder& planned, const Tensor& images, const Tensor& noise,
                     const VaeOptions& options) {
  const Autoencoder& vae = planned.arrived();
  const Tensor input = images.to(vae.device);
  if (const auto* tiny = std::get_if<AutoencoderTiny>(&vae.network)) return tiny->encode(input);
  const auto& kl = std::get<AutoencoderKL>(vae.network);
  const LatentDistribution latents = kl.encode(input, widened(kl, options));
  return scale_latents(latents.sample(noise.to(vae.device)), kl.config());
}

Tensor encode_unscaled(const Autoencoder& planned, const Tensor& images, double scaling,
                       const VaeOptions& options) {
  const Autoencoder& vae = planned.arrived();
  const Tensor input = images.to(vae.device);
  if (const auto* tiny = std::get_if<AutoencoderTiny>(&vae.network))
    return tiny->encode(input) / scaling;
  const auto& kl = std::get<AutoencoderKL>(vae.network);
  return kl.encode(input, widened(kl, options)).mean;
}

Tensor decode_latents(const Autoencoder& planned, const Tensor& latents,
                      const VaeOptions& options) {
  const Autoencoder& vae = planned.arrived();
  const Tensor input = latents.to(vae.device);
  if (const auto* tiny = std::get_if<AutoencoderTiny>(&vae.network)) return tiny->decode(input);
  const auto& kl = std::get<AutoencoderKL>(vae.network);
  const SafeDecoding decoded =
      kl.decode_safely(unscale_latents(input, kl.config()), widened(kl, options));
  if (decoded.retried)
    std::cerr << "vae: values overflowed in half precision; decoded in float32.\n";
  return decoded.images;
}

}  // namespace tiller
