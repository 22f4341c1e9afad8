#include "tools/start.h"

#include <ATen/ATen.h>

#include "models/family.h"

namespace tiller {
namespace {

Tensor encoded(const Generation& generation, const Tensor& image, int64_t images,
               NoiseSource& noise, at::IntArrayRef shape) {
  const Tensor pixels = image.expand({images, -1, -1, -1});
  if (!generation.model.vae) return pixels.to(generation.device);
  const Autoencoder& vae = *generation.model.vae;
  const Tensor drawn = vae.draws() ? initial_noise(noise, shape) : at::zeros(shape);
  return encode_images(vae, pixels, drawn, generation.vae_options()).to(generation.device);
}

/// Latents of the image that the model edits, as the network was trained to read them.
Tensor latents_to_edit(const Generation& generation, int64_t images) {
  const Model& model = generation.model;
  const Tensor& image = generation.init.image;
  Tensor latents = image;
  if (model.vae && model.reads_scaled_image) {
    const ImageSize size = latent_size(generation);
    const Tensor likeliest = at::zeros({1, model.vae->channels(), size.height, size.width});
    latents = encode_images(*model.vae, image, likeliest, generation.vae_options());
  } else if (model.vae) {
    const double scaling = vae_scaling_of(model.text->xl).at("scaling_factor");
    latents = encode_unscaled(*model.vae, image, scaling, generation.vae_options());
  }
  return latents.to(generation.device).repeat({images, 1, 1, 1});
}

/// Where the image changes after so many steps.
Tensor changes_after(const Start& start, int done, int steps) {
  if (!start.soft) return start.mask > 0.5;
  return done == steps ? start.mask > 0 : 1 - start.mask <= double(done) / steps;
}

/// Pure noise, beside which the network reads the image to edit.
Start edit_of(const Generation& generation, NoiseSource& noise, at::IntArrayRef shape,
              Conditioning& conditioning) {
  conditioning.channels = latents_to_edit(generation, shape.front());
  Start start;
  start.noise = initial_noise(noise, shape, generation.device);
  start.x = start.noise * generation.trajectory.initial_scale;
  return start;
}

}  // namespace

Start start_of(const Generation& generation, int64_t images, NoiseSource& noise,
               Conditioning& conditioning) {
  const ImageSize size = latent_size(generation);
  const Network& network = *generation.model.network;
  const std::vector<int64_t> shape = {images, network.out_channels(), size.height, size.width};
  if (generation.model.edits()) return edit_of(generation, noise, shape, conditioning);
  const InitImage& init = generation.init;
  const bool reads_mask = network.in_channels() > network.out_channels();
  Start start;
  start.soft = init.mask.defined() && generation.request.image.soft_mask;
  const bool whole = init.mask.defined() && generation.request.image.strength >= 1;
  const bool begins_with_noise = !init.image.defined() || (whole && !start.soft);
  if (init.image.defined() && !(begins_with_noise && reads_mask))
    start.clean = encoded(generation, init.image, images, noise, shape);
  start.noise = initial_noise(noise, shape, generation.device);
  start.x = begins_with_noise
                ? start.noise * generation.trajectory.initial_scale
                : noised(start.clean, start.noise, generation.trajectory.levels.front());
  if (!init.mask.defined()) return start;
  if (start.soft) {
    start.mask = soft_latent_mask(init.mask, size.height, size.width).to(generation.device);
    return start;
  }
  const Tensor mask = latent_mask(init.mask, size.height, size.width).to(generation.device);
  if (!reads_mask) {
    if (generation.model.vae && generation.model.vae->draws())
      initial_noise(noise, shape);  // diffusers encodes a masked image here
    start.mask = mask;
    return start;
  }
  const Tensor masked = encoded(generation, init.image * (init.mask < 0.5), images, noise, shape);
  conditioning.channels = at::cat({mask.expand({images, -1, -1, -1}), masked}, 1);
  return start;
}

Observer keeping(Start start, Observer observer) {
  return [start = std::move(start), observer = std::move(observer)](const StepReport& report) {
    const int done = report.step + (report.within ? 0 : 1);
    const bool last = done == report.steps;
    if (start.mask.defined()) {
      const Tensor kept = last ? start.clean : noised(start.clean, start.noise, report.level);
      report.sample = at::where(changes_after(start, done, report.steps), report.sample, kept);
    }
    if (observer && !report.within) observer(report);
  };
}

}  // namespace tiller
