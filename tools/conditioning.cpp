#include "tools/conditioning.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <set>

#include "io/error.h"

namespace tiller {
namespace {

Tensor labels_of(std::span<const ImageSpec> images) {
  std::vector<int64_t> labels;
  for (const auto& image : images) labels.push_back(image.label);
  return at::tensor(labels, at::kLong);
}

void add_labels(const Generation& generation, std::span<const ImageSpec> images,
                GuidedBatch& batch) {
  const Model& model = generation.model;
  if (model.classes == 0) return;
  batch.positive.label = labels_of(images).to(generation.device);
  if (!model.null_label) return;
  batch.negative.emplace();
  batch.negative->label = at::full_like(batch.positive.label, model.classes);
}

/// (B, 5 or 6): original height and width, crop's top and left, then the target's height and width
/// or, of SDXL's refiner, the aesthetic score. Its negative prompt is told of no crop, as diffusers
/// has it.
Tensor time_ids(const Generation& generation, int64_t images, double score, bool cropped = true) {
  const TextRequest& text = generation.request.text;
  const auto chosen = [&](const ImageSize& size) {
    return size == ImageSize{} ? generation.request.size : size;
  };
  const ImageSize original = chosen(text.original), target = chosen(text.target);
  std::vector<double> ids = {double(original.height), double(original.width),
                             cropped ? double(text.crop_top) : 0,
                             cropped ? double(text.crop_left) : 0};
  if (generation.model.time_ids == 5)
    ids.push_back(score);
  else
    ids.insert(ids.end(), {double(target.height), double(target.width)});
  return at::tensor(ids, at::kFloat).repeat({images, 1}).to(generation.device);
}

/// sin and cos of 1000 (w - 1), as diffusers embeds the guidance scale of distilled networks.
Tensor guidance_embedding(const Generation& generation, int64_t images) {
  const Tensor w =
      at::full({images}, 1000 * (generation.request.embedded_guidance - 1), at::kFloat);
  return timestep_embedding(w, generation.model.guidance_channels, /*sin_first=*/true, 1)
      .to(generation.device);
}

Conditioning text_conditioning(const std::vector<const PromptStates*>& states) {
  std::vector<Tensor> contexts, pooled;
  for (const auto* state : states) {
    contexts.push_back(state->context);
    if (state->pooled.defined()) pooled.push_back(state->pooled);
  }
  Conditioning conditioning;
  conditioning.context = at::cat(contexts);
  if (!pooled.empty()) conditioning.pooled = at::cat(pooled);
  return conditioning;
}

void add_prompts(const Generation& generation, std::span<const ImageSpec> images,
                 GuidedBatch& batch) {
  if (!generation.model.text) return;
  std::vector<const PromptStates*> states;
  for (const auto& image : images) states.push_back(&generation.prompts.positive.at(image.prompt));
  batch.positive = text_conditioning(states);
  batch.negative = text_conditioning({images.size(), &generation.prompts.negative});
  const TextRequest& text = generation.request.text;
  const int64_t count = int64_t(images.size());
  if (generation.model.time_ids) {
    batch.positive.time_ids = time_ids(generation, count, text.aesthetic_score);
    batch.negative->time_ids =
        generation.model.time_ids == 5
            ? time_ids(generation, count, text.negative_aesthetic_score, false)
            : batch.positive.time_ids;
  }
  if (generation.model.guidance_channels)
    batch.positive.guidance = batch.negative->guidance = guidance_embedding(generation, count);
  if (!generation.prompts.empty.context.defined()) return;
  batch.empty = text_conditioning({images.size(), &generation.prompts.empty});
  batch.empty->time_ids = batch.negative->time_ids;
  batch.empty->guidance = batch.negative->guidance;
}

/// What a prompt says at a step.
const PromptStates& states_at(const PromptTable& table, const std::string& prompt, int step,
                              const PromptStates& always) {
  const auto found = table.schedules.find(prompt);
  if (found == table.schedules.end()) return always;
  return table.texts.at(found->second.texts[found->second.at.at(size_t(step))]);
}

using StatesOfBatch = std::function<std::vector<const PromptStates*>(int step)>;

/// Steps at which all prompts say the same share their tensors, from which keys and values are
/// known to be the same.
std::vector<StepPrompts> step_prompts(int steps, const StatesOfBatch& states) {
  std::map<std::vector<const PromptStates*>, StepPrompts> known;
  std::vector<StepPrompts> prompts;
  for (int step = 0; step < steps; ++step) {
    const auto [place, is_new] = known.try_emplace(states(step));
    if (is_new) {
      const Conditioning all = text_conditioning(place->first);
      place->second = {all.context, all.pooled};
    }
    prompts.push_back(place->second);
  }
  return prompts;
}

void add_changing_prompts(const Generation& generation, std::span<const ImageSpec> images,
                          GuidedBatch& batch) {
  const PromptTable& table = generation.prompts;
  if (table.schedules.empty()) return;
  const int steps = generation.trajectory.steps();
  batch.positive_at = step_prompts(steps, [&](int step) {
    std::vector<const PromptStates*> states;
    for (const auto& image : images)
      states.push_back(&states_at(table, image.prompt, step, table.positive.at(image.prompt)));
    return states;
  });
  batch.negative_at = step_prompts(steps, [&](int step) {
    const auto& state = states_at(table, generation.request.text.negative, step, table.negative);
    return std::vector<const PromptStates*>(images.size(), &state);
  });
}

/// What all prompts say, the negative one too.
std::map<std::string, PromptSchedule> schedules_of(const TextRequest& text, int steps) {
  std::map<std::string, PromptSchedule> schedules;
  const auto add = [&](const std::string& prompt) {
    if (schedules.contains(prompt)) return;
    const bool may_change = text.scheduled && !text.plain;
    schedules[prompt] = may_change ? prompt_schedule(prompt, steps) : PromptSchedule{{prompt}, {}};
  };
  for (const auto& prompt : text.prompts) add(prompt);
  add(text.negative);
  return schedules;
}

void require_finite(const PromptStates& states, const std::string& dtype) {
  for (const Tensor& part : {states.context, states.pooled})
    if (part.defined() && !part.isfinite().all().item<bool>())
      throw Error("text encoder: gave values that aren't finite with --dtype " + dtype +
                  ", expected numbers. Try --dtype float32, or another file.");
}

}  // namespace

PromptOptions prompt_options(const Generation& generation) {
  const TextRequest& text = generation.request.text;
  return {.plain = text.plain, .clip_skip = text.clip_skip};
}

PromptTable encode_prompts(const Generation& generation) {
  PromptTable table;
  if (!generation.model.text) return table;
  const TextModel& model = *generation.model.text;
  const TextRequest& text = generation.request.text;
  const PromptOptions options = prompt_options(generation);
  const auto schedules = schedules_of(text, generation.trajectory.steps());
  int64_t chunks = 1;
  for (const auto& [prompt, schedule] : schedules)
    for (const auto& said : schedule.texts)
      chunks = std::max(chunks, chunks_of(model, said, options));
  const auto encoded = [&](const std::string& prompt, const PromptOptions& how) {
    PromptStates states = encode_prompt(model, prompt, how, chunks);
    require_finite(states, generation.request.dtype);
    for (Tensor* part : {&states.context, &states.pooled})
      if (part->defined()) *part = part->to(generation.device);
    return states;
  };
  const std::set<std::string> positives(text.prompts.begin(), text.prompts.end());
  for (const auto& [prompt, schedule] : schedules) {
    const bool positive = positives.contains(prompt);
    if (!positive && !schedule.changes()) continue;
    for (const auto& said : schedule.texts)
      if (!table.texts.contains(said)) table.texts[said] = encoded(said, options);
    if (positive) table.positive[prompt] = table.texts.at(schedule.texts.front());
    if (schedule.changes()) table.schedules[prompt] = schedule;
  }
  PromptOptions others = options;
  if (text.plain) others.clip_skip = 0;  // diffusers skips layers for the positive prompt only
  table.negative = model.zero_negative && !text.negative_given
                       ? zeros_like(table.positive.begin()->second)
                       : encoded(schedules.at(text.negative).texts.front(), others);
  const GenerateRequest& request = generation.request;
  if (need_empty_prompt(request.guidances) || need_empty_prompt(request.compare))
    table.empty = encoded("", others);
  return table;
}

GuidedBatch guided_batch(const Generation& generation, std::span<const ImageSpec> images) {
  GuidedBatch batch;
  for (const auto& image : images) batch.seeds.push_back(image.seed);
  batch.steps = generation.trajectory.steps();
  batch.keeps_prompts = !generation.request.low_memory;
  add_labels(generation, images, batch);
  add_prompts(generation, images, batch);
  add_changing_prompts(generation, images, batch);
  apply_controls(generation, batch);
  return batch;
}

}  // namespace tiller
