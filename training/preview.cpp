#include "training/preview.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "guidance/denoiser.h"
#include "io/error.h"
#include "io/grid.h"
#include "io/image.h"
#include "samplers/clip.h"
#include "samplers/defaults.h"
#include "samplers/registry.h"
#include "samplers/scheduler_config.h"

namespace tiller {
namespace {

constexpr int64_t kColumns = 8;

at::TensorOptions device_of(const Model& model) {
  return model.parameters.front().second.options();
}

/// The conditioning of a row of images.
GuidedBatch row_batch(const Model& model, int64_t row, uint64_t seed, int steps) {
  GuidedBatch batch;
  batch.seeds = image_seeds(seed, kColumns);
  batch.steps = steps;
  const auto all = [&](int64_t label) {
    return at::full({kColumns}, label, device_of(model).dtype(at::kLong));
  };
  if (model.classes) batch.positive.label = all(row);
  if (model.null_label) {
    batch.negative.emplace();
    batch.negative->label = all(model.classes);
  }
  return batch;
}

Tensor pure_noise(const Model& model, SeededNoise& noise) {
  const int64_t size = model.image_size / model.pixel_scale;
  return initial_noise(noise, {kColumns, model.network->in_channels(), size, size},
                       device_of(model).device());
}

Tensor pixels_of(const Model& model, const Tensor& samples) {
  return model.vae ? decode_latents(*model.vae, samples) : samples;
}

Tensor sample_row(const Model& model, std::span<ChosenGuidance> guidances, int64_t row,
                  uint64_t seed) {
  const Sampler& sampler = find_sampler("ddpm");
  const auto options = parse_options("sampler", "", sampler.options);
  const auto schedule = schedule_of(model);
  const TrajectoryConfig config = default_trajectory_config(schedule);
  const auto trajectory = sampler.trajectory(schedule, with_options(config, options));
  Denoiser denoise =
      guided_denoiser(model, guidances, row_batch(model, row, seed, config.steps), true);
  if (!model.vae) denoise = clipped(std::move(denoise), ClipMode::recompute_epsilon);
  SeededNoise noise(image_seeds(seed, kColumns));
  return pixels_of(model, sampler.run(denoise, pure_noise(model, noise) * trajectory.initial_scale,
                                      trajectory, options, noise, {}));
}

Conditioning text_conditioning(const Model& model, const std::string& prompt) {
  Conditioning conditioning;
  conditioning.context = encode_prompt(*model.text, prompt, {.plain = true})
                             .context.to(device_of(model).device())
                             .expand({kColumns, -1, -1})
                             .contiguous();
  return conditioning;
}

Tensor sample_prompt(const Model& model, std::span<ChosenGuidance> guidances,
                     const std::string& prompt, uint64_t seed) {
  const auto setup = read_scheduler_config(model.scheduler);
  const Sampler& sampler = find_sampler(configured_sampler(setup));
  const auto options = parse_options("sampler", "", configured_options(setup, sampler));
  const auto schedule = configured_schedule(setup, sampler);
  const TrajectoryConfig config = default_trajectory_config(schedule);
  const auto trajectory = sampler.trajectory(schedule, with_options(config, options));
  GuidedBatch batch{.positive = text_conditioning(model, prompt),
                    .negative = text_conditioning(model, ""),
                    .empty = {},
                    .seeds = image_seeds(seed, kColumns),
                    .steps = config.steps};
  batch.empty = batch.negative;
  SeededNoise noise(batch.seeds);
  const Denoiser denoise =
      limited(guided_denoiser(model, guidances, std::move(batch), true), options);
  return pixels_of(model, sampler.run(denoise, pure_noise(model, noise) * trajectory.initial_scale,
                                      trajectory, options, noise, {}));
}

std::vector<ChosenGuidance> guidances_of(const Model& model, const std::string& guidance) {
  return choose_guidances({guidance.empty() ? "none" : guidance}, model);
}

}  // namespace

void check_preview(const Model& model, const std::string& guidance) {
  try {
    guidances_of(model, guidance);
  } catch (const UsageError& error) {
    throw UsageError(std::string("--sample-guidance: ") + error.what());
  }
}

void write_preview(const fs::path& path, const Model& model, const std::string& guidance,
                   uint64_t seed) {
  const c10::InferenceMode guard;
  auto guidances = guidances_of(model, guidance);
  std::vector<Tensor> rows;
  GridLabels labels;
  for (int64_t row = 0; row < std::clamp<int64_t>(model.classes, 1, 10); ++row) {
    rows.push_back(to_bytes(sample_row(model, guidances, row, seed)).cpu());
    if (row < static_cast<int64_t>(model.class_names.size()))
      labels.rows.push_back(model.class_names[row]);
  }
  write_png(path, image_grid(at::cat(rows), kColumns, labels));
}

void write_text_preview(const fs::path& path, const Model& model,
                        const std::vector<std::string>& prompts, const std::string& guidance,
                        uint64_t seed) {
  const c10::InferenceMode guard;
  auto guidances = guidances_of(model, guidance);
  std::vector<Tensor> rows;
  for (const auto& prompt : prompts)
    rows.push_back(to_bytes(sample_prompt(model, guidances, prompt, seed)).cpu());
  write_png(path, image_grid(at::cat(rows), kColumns, {.rows = prompts, .columns = {}}));
}

}  // namespace tiller
