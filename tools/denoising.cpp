#include "tools/denoising.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "samplers/clip.h"
#include "samplers/exposure_bias.h"

namespace tiller {
namespace {

bool same(const Tensor& a, const Tensor& b) {
  return a.defined() == b.defined() && (!a.defined() || at::equal(a, b));
}

void require_alike(const Prediction& first, const Prediction& second) {
  if (!first.epsilon.tensor().isfinite().all().item<bool>())
    throw Error("unet: gave values that aren't finite, expected numbers. Use --dtype float32.");
  if (same(first.sample, second.sample) && same(first.epsilon, second.epsilon) &&
      same(first.renoise, second.renoise))
    return;
  throw Error(
      "--verify: got two answers of the network to one input, expected the same bits. Inversion "
      "can't be exact here; --verify off goes on regardless.");
}

}  // namespace

Denoiser batch_denoiser(const Generation& generation, std::span<ChosenGuidance> guidances,
                        GuidedBatch batch, GuidanceCost* cost) {
  return corrected(generation, guided_denoiser(generation.model, guidances, std::move(batch),
                                               generation.request.share, cost));
}

Denoiser corrected(const Generation& generation, Denoiser denoise) {
  denoise = unbiased(std::move(denoise), generation.sampler_options, generation.trajectory,
                     generation.schedule, generation.model.prediction);
  if (generation.request.clip_denoised)
    denoise = clipped(std::move(denoise), ClipMode::recompute_epsilon);
  return limited(std::move(denoise), generation.sampler_options);
}

Verify verify_from(const Flags& flags) {
  const std::string text = flags.choice("verify", {"off", "first", "all"}, "first");
  return text == "off" ? Verify::off : text == "all" ? Verify::all : Verify::first;
}

Denoiser verified(Denoiser denoise, Verify verify) {
  if (verify == Verify::off) return denoise;
  return [denoise = std::move(denoise), verify, done = false](const Tensor& x,
                                                              const NoiseLevel& level) mutable {
    const Prediction p = denoise(x, level);
    if (!done) require_alike(p, denoise(x, level));
    done = verify == Verify::first;
    return p;
  };
}

}  // namespace tiller
