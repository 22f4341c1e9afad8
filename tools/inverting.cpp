#include "tools/inverting.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <cmath>

#include "io/error.h"
#include "io/image.h"
#include "samplers/lattice.h"
#include "tools/conditioning.h"
#include "tools/image_checks.h"
#include "tools/residence.h"

namespace tiller {
namespace {

/// A batch made ready: what InversionRun refers to.
struct InversionBatch {
  SeededNoise noise;
  Denoiser denoise = {};
  InversionSteering steering = {};
};

/// The unguided denoiser and those that methods give other negatives.
InversionSteering steering_of(const Generation& generation, std::span<ChosenGuidance> guidances,
                              const GuidedBatch& batch, GuidanceCost& cost) {
  InversionSteering steering;
  GuidedBatch alone = batch;
  steering.conditional = batch_denoiser(generation, {}, std::move(alone), &cost);
  steering.positive = batch.positive.context;
  if (!batch.negative) return steering;
  steering.negative = batch.negative->context;
  steering.with_negative = [&generation, guidances, batch, &cost](const Tensor& negative) {
    GuidedBatch other = batch;
    other.negative->context = negative;
    return batch_denoiser(generation, guidances, std::move(other), &cost);
  };
  return steering;
}

InversionBatch batch_of(const Generation& generation, std::span<ChosenGuidance> guidances,
                        std::span<const ImageSpec> images, const InvertOptions& options,
                        GuidanceCost& cost) {
  use_unet(generation);
  GuidedBatch batch = guided_batch(generation, images);
  if (options.arrange) options.arrange(batch);
  batch.keeps_prompts &= options.verify == Verify::off;  // so that all is answered twice
  InversionBatch ready{SeededNoise(batch.seeds, random_numbers(generation.request))};
  ready.steering = steering_of(generation, guidances, batch, cost);
  ready.denoise =
      verified(batch_denoiser(generation, guidances, std::move(batch), &cost), options.verify);
  return ready;
}

InversionRun run_of(const Generation& generation, InversionBatch& batch, const Observer& observer) {
  return {batch.denoise, generation.trajectory, generation.sampler_options, batch.steering,
          observer,      &batch.noise};
}

/// Samplers read their options and what steers them as they start: a run of no steps finds what is
/// wrong with them.
void check_inverse_options(const Generation& generation) {
  const Denoiser never = [](const Tensor&, const NoiseLevel&) { return Prediction{}; };
  InversionSteering steering{.conditional = never};
  if (generation.model.text) {
    steering.positive = steering.negative = at::zeros({1, 1, 1});
    steering.with_negative = [&](const Tensor&) { return never; };
  }
  const InversionRun run{never, generation.trajectory, generation.sampler_options, steering, {}};
  const int end = generation.trajectory.steps();
  try {
    generation.sampler->inverse.ascend(run, {.level = end, .latents = at::zeros({1, 1, 1, 1})},
                                       end);
  } catch (const UsageError& error) {
    throw UsageError("sampler " + generation.sampler->name + ": " + error.what());
  }
}

void check_steps(const Generation& generation, void (*check)(const Options&, int), int steps) {
  if (check) try {
      check(generation.sampler_options, steps);
    } catch (const UsageError& error) {
      throw UsageError("sampler " + generation.sampler->name + ": " + error.what());
    }
}

/// Inverses that multiply what they round end beyond all numbers.
InversionState finite(const Generation& generation, InversionState state) {
  for (const Tensor& part : {state.latents, state.partner, state.side, state.record})
    if (part.defined() && !part.isfinite().all().item<bool>())
      throw Error("sampler " + generation.sampler->name +
                  ": got values that aren't finite, expected numbers. Take fewer steps, a lower "
                  "guidance scale or options that mix less.");
  return state;
}

}  // namespace

void require_ascent(const Generation& generation, int steps) {
  check_steps(generation, generation.sampler->inverse.check_ascent, steps);
}

void require_descent(const Generation& generation, int steps) {
  check_steps(generation, generation.sampler->inverse.check_descent, steps);
}

void require_invertible(const Generation& generation, std::span<const ChosenGuidance> guidances) {
  const Sampler& sampler = *generation.sampler;
  if (!sampler.inverse.ascend) {
    std::vector<std::string> able;
    for (const auto& other : samplers())
      if (other.inverse.ascend) able.push_back(other.name);
    throw UsageError("--sampler: got " + sampler.name + ", which has no inverse, expected one of " +
                     enumerate(able, able.size()) + ".");
  }
  require_latents_alone(generation.model);
  if (generation.init.image.defined())
    throw UsageError("--init-image: got one, expected none: inversion begins with --image.");
  check_inverse_options(generation);
  for (const auto& chosen : guidances)
    if (chosen.guidance->remembers())
      throw UsageError(
          "guidance " + chosen.text +
          ": remembers the steps before, expected none that does for inversion (apg: momentum=0).");
}

Tensor latents_of(const Generation& generation, const Tensor& pixels) {
  const Model& model = generation.model;
  const Tensor images = from_bytes(pixels);
  if (!model.vae)
    return (model.network->in_channels() == 1 ? images.mean(1, true) : images)
        .to(generation.device);
  use_vae(generation);
  const ImageSize size = latent_size(generation);
  const Tensor mean = at::zeros({pixels.size(0), model.vae->channels(), size.height, size.width});
  return encode_images(*model.vae, images, mean, generation.vae_options()).to(generation.device);
}

InversionState invert_latents(const Generation& generation, std::span<ChosenGuidance> guidances,
                              std::span<const ImageSpec> images, InversionState state,
                              const InvertOptions& options, GuidanceCost& cost,
                              const Observer& observer) {
  const c10::NoGradGuard no_grad;
  auto batch = batch_of(generation, guidances, images, options, cost);
  return finite(generation, generation.sampler->inverse.ascend(
                                run_of(generation, batch, observer),
                                on_device(std::move(state), generation.device), options.until));
}

InversionState regenerate_latents(const Generation& generation, std::span<ChosenGuidance> guidances,
                                  std::span<const ImageSpec> images, InversionState state,
                                  const InvertOptions& options, GuidanceCost& cost,
                                  const Observer& observer) {
  const c10::NoGradGuard no_grad;
  auto batch = batch_of(generation, guidances, images, options, cost);
  return finite(generation, generation.sampler->inverse.descend(
                                run_of(generation, batch, observer),
                                on_device(std::move(state), generation.device)));
}

Tensor unit_noise(const Generation& generation, const Tensor& noise) {
  const NoiseLevel& level = generation.trajectory.levels.front();
  return float_latents(noise).to(at::kCPU, at::kDouble) / std::hypot(level.alpha, level.sigma);
}

InversionState on_device(InversionState state, at::Device device) {
  for (Tensor* part : {&state.latents, &state.partner, &state.side, &state.record})
    if (part->defined()) *part = part->to(device);
  return state;
}

InversionState rows_of(const InversionState& state, int64_t first, int64_t count) {
  const auto rows = [&](const Tensor& x, int64_t dim) {
    return x.defined() ? x.narrow(dim, first, count) : x;
  };
  return {state.level, rows(state.latents, 0), rows(state.partner, 0), rows(state.side, 0),
          rows(state.record, 1)};
}

InversionState joined(std::vector<InversionState> states) {
  const auto all = [&](Tensor InversionState::*part, int64_t dim) {
    std::vector<Tensor> parts;
    for (const auto& state : states)
      if ((state.*part).defined()) parts.push_back(state.*part);
    return parts.empty() ? Tensor() : at::cat(parts, dim);
  };
  return {states.front().level, all(&InversionState::latents, 0), all(&InversionState::partner, 0),
          all(&InversionState::side, 0), all(&InversionState::record, 1)};
}

InversionState for_another(const Generation& generation, InversionState state) {
  if (generation.sampler->inverse.record_is_the_images && state.record.defined())
    state.record = at::zeros_like(state.record);
  return state;
}

Tensor as_stored(const Tensor& latents, const InversionState& state) {
  const at::ScalarType type = state.latents.scalar_type();
  if (!at::isIntegralType(type, false)) return latents.to(type);
  const bool integers = at::isIntegralType(latents.scalar_type(), false);
  return (integers ? latents : to_lattice(latents)).to(type);
}

}  // namespace tiller
