#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "io/error.h"
#include "io/image.h"
#include "samplers/clip.h"
#include "tools/conditioning.h"

namespace tiller {
namespace {

/// Where a batch starts, and what stays as it is.
struct Start {
  Tensor x;      ///< (B, C, H, W), noise or a noisy image.
  Tensor clean;  ///< Latents of the init image; undefined: none.
  Tensor noise;
  Tensor mask;  ///< (1, 1, H, W), 1 where the image is to change; undefined: everywhere.
};

Tensor encoded(const Generation& generation, const Tensor& image, int64_t images,
               NoiseSource& noise, at::IntArrayRef shape) {
  const Tensor pixels = image.expand({images, -1, -1, -1});
  if (!generation.model.vae) return pixels.to(generation.device);
  return encode_images(*generation.model.vae, pixels, initial_noise(noise, shape),
                       generation.vae_options())
      .to(generation.device);
}

/// Draws in diffusers' order: the encoder's sample, then the noise, then the masked image's sample.
Start start_of(const Generation& generation, int64_t images, NoiseSource& noise,
               Conditioning& conditioning) {
  const ImageSize size = latent_size(generation);
  const int64_t channels = generation.model.network->out_channels();
  const std::vector<int64_t> shape = {images, channels, size.height, size.width};
  const InitImage& init = generation.init;
  Start start;
  const bool inpaints = generation.model.network->in_channels() > channels;
  const bool keeps = init.image.defined() && (!inpaints || generation.request.image.strength < 1);
  if (keeps) start.clean = encoded(generation, init.image, images, noise, shape);
  start.noise = initial_noise(noise, shape, generation.device);
  const NoiseLevel& first = generation.trajectory.levels.front();
  start.x = keeps && generation.request.image.strength < 1
                ? first.alpha * start.clean + first.sigma * start.noise
                : start.noise * generation.trajectory.initial_scale;
  if (!init.mask.defined()) return start;
  start.mask = latent_mask(init.mask, size.height, size.width).to(generation.device);
  if (inpaints) {
    const Tensor masked = init.image * (init.mask < 0.5);
    conditioning.channels = at::cat({start.mask.expand({images, -1, -1, -1}),
                                     encoded(generation, masked, images, noise, shape)},
                                    1);
    start.mask = Tensor();
  }
  return start;
}

/// Outside the mask the prediction is what leads to the init image and its own noise.
Denoiser masked(Denoiser denoise, const Start& start) {
  if (!start.mask.defined()) return denoise;
  return [denoise = std::move(denoise), start](const Tensor& x, const NoiseLevel& level) {
    Prediction prediction = denoise(x, level);
    const auto blend = [&](const Tensor& changed, const Tensor& kept) {
      return at::where(start.mask > 0.5, changed, kept);
    };
    const Tensor epsilon =
        level.sigma > 0 ? (x - level.alpha * start.clean) / level.sigma : start.noise;
    prediction.sample = blend(prediction.sample, start.clean);
    prediction.epsilon = blend(prediction.epsilon, epsilon);
    if (prediction.renoise.defined()) prediction.renoise = blend(prediction.renoise, epsilon);
    return prediction;
  };
}

/// One batch of samples, (B, C, H, W) in float32 on the device.
Tensor run_batch(const Generation& generation, std::span<ChosenGuidance> guidances,
                 std::span<const ImageSpec> images, GuidanceCost& cost, const Observer& observer) {
  const GenerateRequest& request = generation.request;
  GuidedBatch batch = guided_batch(generation, images);
  SeededNoise noise(batch.seeds);
  const Start start = start_of(generation, int64_t(images.size()), noise, batch.positive);
  for (auto* other : {&batch.negative, &batch.empty})
    if (*other) (*other)->channels = batch.positive.channels;
  Denoiser denoise =
      guided_denoiser(generation.model, guidances, std::move(batch), request.share, &cost);
  if (request.clip_denoised) denoise = clipped(std::move(denoise), ClipMode::recompute_epsilon);
  denoise = limited(std::move(denoise), generation.sampler_options);
  return generation.sampler
      ->run(masked(std::move(denoise), start), start.x, generation.trajectory,
            generation.sampler_options, noise, observer)
      .to(at::kFloat);
}

void require_finite(const Tensor& samples, const GenerateRequest& request) {
  if (samples.isfinite().all().item<bool>()) return;
  throw Error(
      "sample: got values that aren't finite with --dtype " + request.dtype +
      ", expected numbers." +
      (request.dtype == "float32" ? " Lower the guidance scale." : " Use --dtype float32."));
}

/// One or three channels in [-1, 1] to RGB (B, 3, H, W) uint8.
Tensor to_pixels(const Generation& generation, const Tensor& samples) {
  const Tensor images = generation.model.vae ? decode_latents(*generation.model.vae, samples,
                                                              generation.vae_options())
                                             : samples;
  const Tensor pixels = to_bytes(images.to(at::kCPU));
  return pixels.size(1) == 1 ? pixels.expand({-1, 3, -1, -1}) : pixels;
}

}  // namespace

GuidanceCost run_images(const Generation& generation, std::span<ChosenGuidance> guidances,
                        std::span<const ImageSpec> images, int64_t batch, Progress& progress,
                        const ImageSink& sink) {
  const c10::InferenceMode inference;
  GuidanceCost cost;
  for (size_t first = 0; first < images.size(); first += batch) {
    const auto part = images.subspan(first, std::min<size_t>(batch, images.size() - first));
    const Tensor samples = run_batch(generation, guidances, part, cost, [&](const StepReport&) {
      progress.advance(int64_t(part.size()));
    });
    require_finite(samples, generation.request);
    sink(first, {samples.to(at::kCPU), to_pixels(generation, samples)});
  }
  return cost;
}

}  // namespace tiller
