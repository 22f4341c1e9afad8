#include "tools/decoding.h"

#include <ATen/ATen.h>

#include "io/image.h"
#include "models/device.h"

namespace tiller {

/// An autoencoder's decoder holds about 12 images of its first channels, of the whole size.
double decoding_memory(const Generation& generation, double images) {
  const GenerateRequest& request = generation.request;
  const Model& model = generation.model;
  if (!model.vae || request.vae_tiling) return 0;
  const auto* vae = std::get_if<AutoencoderKL>(&model.vae->network);
  if (!vae) return 0;
  return 12 * (request.low_memory ? 1 : images) * double(vae->config().channels.front()) *
         double(request.size.height) * double(request.size.width) *
         double(at::elementSize(vae->dtype()));
}

/// --low-memory moves the VAE and the UNet in turns, tiles are for want of memory, and an image to
/// start from is encoded by what would decode. A quarter: some decode in float32, and sampling
/// needs room too.
bool decodes_beside(const Generation& generation, int64_t images) {
  const GenerateRequest& request = generation.request;
  if (generation.device.is_cpu() || !generation.model.vae || request.low_memory ||
      request.vae_tiling || generation.init.image.defined())
    return false;
  return decoding_memory(generation, double(images)) <= free_device_memory(generation.device) / 4;
}

Tensor to_pixels(const Generation& generation, const Tensor& samples) {
  const Tensor images = generation.model.vae ? decode_latents(*generation.model.vae, samples,
                                                              generation.vae_options())
                                             : samples;
  const Tensor pixels = to_bytes(images.to(at::kCPU));
  return pixels.size(1) == 1 ? pixels.expand({-1, 3, -1, -1}) : pixels;
}

}  // namespace tiller
