#include "tools/editing.h"

#include <ATen/ATen.h>

#include <cmath>

#include "guidance/local_blend.h"
#include "io/error.h"
#include "tools/attention_maps.h"
#include "tools/conditioning.h"
#include "tools/edit_checks.h"
#include "tools/init_image.h"
#include "tools/loading.h"
#include "tools/residence.h"

namespace tiller {
namespace {

constexpr double usual_from = 0.8;
constexpr double blend_from = 0.2;  ///< Before, words' maps say little.

/// One image of the source; the edit's prompt is encoded beside its own, to the same length.
GenerateRequest source_request(GenerateRequest request, const EditRequest& edit) {
  if (edit.prompt && edit.model.empty()) request.text.prompts.push_back(*edit.prompt);
  request.count = request.text.prompts.empty() ? 0 : 1;
  request.batch = 1;
  return request;
}

GenerateRequest target_request(GenerateRequest request, const EditRequest& edit) {
  request.model = edit.model;
  if (edit.prompt) request.text.prompts = {*edit.prompt};
  if (!edit.label.empty()) request.classes = {edit.label};
  if (!edit.guidances.empty()) request.guidances = edit.guidances;
  return source_request(std::move(request), {.model = edit.model});
}

Generation prepare_target(const GenerateRequest& request, const EditRequest& edit) {
  try {
    return prepare(target_request(request, edit));
  } catch (const UsageError& error) {
    throw UsageError("--edit-model " + edit.model + ": " + error.what());
  }
}

ImageSpec edited(const Editing& editing) {
  ImageSpec after = editing.before;
  if (editing.target) {
    after = editing.target->images.front();
    after.seed = editing.before.seed;
  } else if (editing.request.prompt) {
    after.prompt = *editing.request.prompt;
  } else if (!editing.request.label.empty()) {
    after.label = edited_label(editing.source.model, editing.request.label);
  }
  return after;
}

PromptPair prompt_pair(const Editing& editing) {
  const Generation& generation = editing.source;
  const TextModel& text = *generation.model.text;
  const PromptOptions options = prompt_options(generation);
  const auto length =
      std::max(chunks_of(text, editing.before.prompt, options),
               std::max(chunks_of(text, editing.after.prompt, options),
                        chunks_of(text, generation.request.text.negative, options)));
  PromptPair pair{prompt_tokens(text, editing.before.prompt, options, length),
                  prompt_tokens(text, editing.after.prompt, options, length),
                  {}};
  for (const auto& [word, weight] : word_weights(editing.request.words)) {
    require_word(generation, "edit-word", word, {editing.after.prompt});
    for (const int64_t token : word_positions(text, editing.after.prompt, options, word))
      pair.weights.emplace_back(token, weight);
  }
  return pair;
}

void choose_control(Editing& editing) {
  const EditRequest& request = editing.request;
  if (request.control.empty()) return;
  const Model& model = editing.source.model;
  std::vector<PromptPair> prompts;
  if (model.text) prompts.push_back(prompt_pair(editing));
  editing.control = choose_edit_control(request.control, model, std::move(prompts));
}

void choose_words(Editing& editing) {
  const Generation& generation = editing.source;
  require_blend_words(editing);
  for (const auto& word : editing.request.blend_words) {
    require_word(generation, "blend-word", word, {editing.before.prompt, editing.after.prompt});
    WordTokens tokens;
    for (const auto* image : {&editing.before, &editing.after})
      tokens.push_back(
          word_positions(*generation.model.text, image->prompt, prompt_options(generation), word));
    editing.words.push_back(std::move(tokens));
  }
}

Tensor region_of(const Generation& generation, const Tensor& mask) {
  if (!mask.defined()) return {};
  const ImageSize size = latent_size(generation);
  const Tensor white = (mask.to(at::kFloat).mean(0) >= 127.5).to(at::kFloat);
  return (latent_mask(white.unsqueeze(0).unsqueeze(0), size.height, size.width)[0][0] > 0.5)
      .to(generation.device);
}

int until_level(const Editing& editing) {
  const int steps = editing.source.trajectory.steps();
  const double share = editing.request.from.value_or(editing.control ? 1 : usual_from);
  const int undone = int(std::floor(steps * share + 1e-9));
  if (undone < 1)
    throw UsageError("--edit-from: got less than one of the " + std::to_string(steps) +
                     " steps, expected a share that undoes one or more.");
  return steps - undone;
}

/// All that follows from what the image shows, before and after.
void arrange(Editing& editing, const Tensor& mask) {
  choose_control(editing);
  choose_words(editing);
  editing.region = region_of(editing.source, mask);
  editing.until = until_level(editing);
  require_ascent(editing.source, editing.source.trajectory.steps() - editing.until);
}

/// Where the words lie as far as their maps say by now.
Tensor words_region(const AttentionMaps& maps, double threshold, at::Device device) {
  const Tensor words = maps.maps();
  Tensor region;
  for (int64_t image = 0; image < words.size(0); ++image)
    for (int64_t word = 0; word < words.size(1); ++word) {
      const Tensor own = word_region(words[image][word], threshold);
      region = region.defined() ? region.logical_or(own) : own;
    }
  return region.to(device);
}

/// What an edit's run does beside sampling.
class Companions {
 public:
  explicit Companions(const Editing& editing) : editing_(editing) {
    const ImageSize size = latent_size(editing.source);
    if (!editing.words.empty())
      maps_ = std::make_shared<AttentionMaps>(editing.words, size.height, size.width);
  }

  void arrange(GuidedBatch& batch) const {
    if (editing_.control) batch.control = editing_.control->control;
    if (!maps_) return;
    batch.observer = [maps = maps_](const Site& site, const Tensor& q, const Tensor& k) {
      maps->observe(site, q, k);
    };
  }

  void blend(const StepReport& report) {
    const auto region = region_at(report);
    if (!region.defined()) return;
    share_ = region.to(at::kDouble).mean().item<double>();
    report.sample = blended(report.sample, region);
  }

  /// Of the latents that might change at the last step; none: all, since nothing blends.
  std::optional<double> share() const { return share_; }

 private:
  Tensor region_at(const StepReport& report) const {
    if (!maps_) return editing_.region;
    if (report.step < int(blend_from * report.steps)) return {};
    return words_region(*maps_, editing_.request.blend_threshold, report.sample.device());
  }

  const Editing& editing_;
  std::shared_ptr<AttentionMaps> maps_;
  std::optional<double> share_;
};

/// Of one row two: the image's and the edit's.
InversionState twice(const Generation& source, const InversionState& state) {
  const InversionState row = rows_of(state, 0, 1);
  return joined({row, for_another(source, row)});
}

/// Source and edit in one batch.
void regenerate_beside(Editing& editing, const InversionState& noise,
                       const std::function<void(int64_t)>& advance, EditedLatents& result) {
  Companions companions(editing);
  const InvertOptions options{.verify = Verify::off,
                              .arrange = [&](GuidedBatch& batch) { companions.arrange(batch); }};
  const std::vector<ImageSpec> images = {editing.before, editing.after};
  const auto watch = [&](const StepReport& report) {
    companions.blend(report);
    advance(2);
  };
  const Tensor both = regenerate_latents(editing.source, editing.guidances, images,
                                         twice(editing.source, noise), options, result.cost, watch)
                          .latents;
  result.reconstructed = both.narrow(0, 0, 1);
  result.edited = both.narrow(0, 1, 1);
  result.blend_share = companions.share();
}

void regenerate_alone(Editing& editing, InversionState noise,
                      const std::function<void(int64_t)>& advance, EditedLatents& result) {
  const InvertOptions options{.verify = Verify::off};
  const auto watch = [&](const StepReport&) { advance(1); };
  if (editing.request.reconstruct)
    result.reconstructed =
        regenerate_latents(editing.source, editing.guidances, {&editing.before, 1}, noise, options,
                           result.cost, watch)
            .latents;
  result.edited = regenerate_latents(
                      editing.regenerates(), editing.regenerating_guidances(), {&editing.after, 1},
                      for_another(editing.source, std::move(noise)), options, result.cost, watch)
                      .latents;
}

}  // namespace

std::unique_ptr<Editing> prepare_editing(GenerateRequest request, EditRequest edit,
                                         const Tensor& mask) {
  check_requests(request, edit);
  auto editing = std::make_unique<Editing>();
  editing->request = edit;
  editing->source = prepare_source(source_request(request, edit), edit);
  if (!edit.model.empty()) {
    editing->target = prepare_target(request, edit);
    decide_on_packing({&editing->source, &*editing->target});
    require_fitting(editing->source, *editing->target);
  }
  const Generation& source = editing->source;
  require_one_image(source);
  editing->before = source.images.front();
  editing->after = edited(*editing);
  editing->guidances = choose_guidances(source.request.guidances, source.model);
  require_invertible(source, editing->guidances);
  if (!edit.guidances.empty() || editing->target) {
    const auto& texts = edit.guidances.empty() ? source.request.guidances : edit.guidances;
    editing->edit_guidances = choose_guidances(texts, editing->regenerates().model);
    require_invertible(editing->regenerates(), *editing->edit_guidances);
  }
  arrange(*editing, mask);
  return editing;
}

void change_edit(Editing& editing, ImageSpec before, EditRequest edit, const Tensor& mask) {
  check_pairing(edit);
  Generation& source = editing.source;
  source.images = {std::move(before)};
  editing.before = source.images.front();
  editing.request = std::move(edit);
  if (source.model.text) {
    source.request.text.prompts = {editing.before.prompt};
    if (editing.request.prompt) source.request.text.prompts.push_back(*editing.request.prompt);
    use_text_encoders(source);
    source.prompts = encode_prompts(source);
  }
  editing.control.reset();
  editing.words.clear();
  editing.after = edited(editing);
  arrange(editing, mask);
}

int64_t step_count(const Editing& editing) {
  const int64_t steps = editing.source.trajectory.steps() - editing.until;
  if (editing.paired()) return 4 * steps;
  return (editing.request.reconstruct ? 3 : 2) * steps;
}

EditedLatents edit_latents(Editing& editing, const Tensor& latents, Verify verify,
                           const std::function<void(int64_t)>& advance) {
  const Generation& source = editing.source;
  const int64_t rows = editing.paired() ? 2 : 1;
  EditedLatents result;
  const InvertOptions options{
      .until = editing.until, .verify = verify, .arrange = [&](GuidedBatch& batch) {
        if (editing.control) batch.control = editing.control->control;
      }};
  InversionState noise = invert_latents(
      source, editing.guidances, std::vector<ImageSpec>(size_t(rows), editing.before),
      {.level = source.trajectory.steps(), .latents = latents.repeat({rows, 1, 1, 1})}, options,
      result.cost, [&](const StepReport&) { advance(rows); });
  result.start = as_stored(latents, noise);
  if (editing.paired())
    regenerate_beside(editing, noise, advance, result);
  else
    regenerate_alone(editing, std::move(noise), advance, result);
  if (result.reconstructed.defined())
    result.reconstructed = as_stored(result.reconstructed, {.latents = result.start});
  return result;
}

}  // namespace tiller
