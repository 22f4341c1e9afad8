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
GuidedBatch row_batch(const Model& model, int64_t row, uint64_t seed) {
  GuidedBatch batch;
  batch.seeds = image_seeds(seed, kColumns);
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

/// How a model's rows are drawn: DDPM, or as its scheduler says.
struct Drawing {
  const Sampler& sampler;
  Options options;
  NoiseSchedule schedule;
};

Drawing drawing_of(const Model& model) {
  if (!model.has_scheduler()) {
    const Sampler& ddpm = find_sampler("ddpm");
    return {ddpm, parse_options("sampler", "", ddpm.options), schedule_of(model)};
  }
  const auto setup = read_scheduler_config(model.scheduler);
  const Sampler& sampler = find_sampler(configured_sampler(setup));
  return {sampler, parse_options("sampler", "", configured_options(setup, sampler)),
          configured_schedule(setup, sampler)};
}

Denoiser bounded(const Model& model, const Options& options, Denoiser denoise) {
  if (model.has_scheduler()) return limited(std::move(denoise), options);
  return model.vae ? std::move(denoise) : clipped(std::move(denoise), ClipMode::recompute_epsilon);
}

Tensor sample(const Model& model, std::span<ChosenGuidance> guidances, GuidedBatch batch) {
  const auto [sampler, options, schedule] = drawing_of(model);
  const auto trajectory =
      sampler.trajectory(schedule, with_options(default_trajectory_config(schedule), options));
  batch.steps = trajectory.steps();
  SeededNoise noise(batch.seeds);
  const Denoiser denoise =
      bounded(model, options, guided_denoiser(model, guidances, std::move(batch), true));
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

GuidedBatch prompt_batch(const Model& model, const std::string& prompt, uint64_t seed) {
  GuidedBatch batch{.positive = text_conditioning(model, prompt),
                    .negative = text_conditioning(model, ""),
                    .empty = {},
                    .seeds = image_seeds(seed, kColumns)};
  batch.empty = batch.negative;
  return batch;
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
    rows.push_back(to_bytes(sample(model, guidances, row_batch(model, row, seed))).cpu());
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
    rows.push_back(to_bytes(sample(model, guidances, prompt_batch(model, prompt, seed))).cpu());
  write_png(path, image_grid(at::cat(rows), kColumns, {.rows = prompts, .columns = {}}));
}

}  // namespace tiller
