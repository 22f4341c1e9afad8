#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "io/error.h"
#include "io/image.h"
#include "samplers/clip.h"
#include "tools/attention_maps.h"
#include "tools/conditioning.h"
#include "tools/residence.h"
#include "tools/start.h"

namespace tiller {
namespace {

/// One batch of samples, (B, C, H, W) in float32 on the device.
Tensor run_batch(const Generation& generation, std::span<ChosenGuidance> guidances,
                 std::span<const ImageSpec> images, GuidanceCost& cost, const WordRecorder& words,
                 const Observer& observer) {
  const GenerateRequest& request = generation.request;
  GuidedBatch batch = guided_batch(generation, images);
  words.attach(batch);
  SeededNoise noise(batch.seeds);
  if (generation.init.image.defined()) use_vae(generation);
  const Start start = start_of(generation, int64_t(images.size()), noise, batch.positive);
  for (auto* other : {&batch.negative, &batch.empty})
    if (*other) (*other)->channels = batch.positive.channels;
  use_unet(generation);
  Denoiser denoise =
      guided_denoiser(generation.model, guidances, std::move(batch), request.share, &cost);
  if (request.clip_denoised) denoise = clipped(std::move(denoise), ClipMode::recompute_epsilon);
  denoise = limited(std::move(denoise), generation.sampler_options);
  return generation.sampler
      ->run(denoise, start.x, generation.trajectory, generation.sampler_options, noise,
            keeping(start, observer))
      .to(at::kFloat);
}

void require_finite(const Tensor& samples, const GenerateRequest& request) {
  if (samples.isfinite().all().item<bool>()) return;
  throw Error(
      "unet: gave values that aren't finite with --dtype " + request.dtype + ", expected numbers." +
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
                        const ImageSink& sink, const Observer& watch) {
  const c10::InferenceMode inference;
  GuidanceCost cost;
  for (size_t first = 0; first < images.size(); first += batch) {
    const auto part = images.subspan(first, std::min<size_t>(batch, images.size() - first));
    const WordRecorder words(generation, part);
    const Tensor samples =
        run_batch(generation, guidances, part, cost, words, [&](const StepReport& report) {
          progress.advance(int64_t(part.size()));
          if (watch) watch(report);
        });
    require_finite(samples, generation.request);
    use_vae(generation);
    sink(first, {samples.to(at::kCPU), to_pixels(generation, samples), words.attention(),
                 words.effects()});
  }
  return cost;
}

}  // namespace tiller
