#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <chrono>
#include <iostream>

#include "io/error.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "models/device.h"
#include "tools/attention_maps.h"
#include "tools/behind.h"
#include "tools/caching.h"
#include "tools/generate_report.h"
#include "tools/image_checks.h"
#include "tools/inputs.h"
#include "tools/inversion_file.h"
#include "tools/kept_images.h"
#include "tools/notes.h"
#include "tools/pairs_file.h"
#include "tools/parallel.h"
#include "tools/preview.h"
#include "tools/process_age.h"
#include "tools/together.h"

namespace tiller {
namespace {

using Run = GenerateRun;
using Rows = std::vector<std::vector<ChosenGuidance>>;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Whether anything that decides the bytes is given besides --from. An inversion begins with the
/// image alone, which rounds otherwise than in its batch.
bool overrides(const Flags& flags) {
  if (flags.has("save-inversion")) return true;
  for (const auto& flag : request_flags())
    if (flag.name != "model" && flags.has(flag.name)) return true;
  return flags.has("parallel") && shares_from(flags.text("parallel")) == Together::Shares::nothing;
}

std::optional<Recipe> recipe_of(const Flags& flags) {
  if (!flags.has("from")) return std::nullopt;
  Recipe recipe = read_recipe(flags.text("from"));
  if (overrides(flags)) recipe.batch = {};
  for (const auto& image : recipe.batch.images)
    if (!image.prompt.empty()) recipe.request.text.prompts.push_back(image.prompt);
  return recipe;
}

GenerateRequest read_request(const Flags& flags, const std::optional<Recipe>& recipe) {
  GenerateRequest request = recipe ? recipe->request : GenerateRequest{};
  if (flags.has("inversion")) {
    if (recipe) throw UsageError("--inversion: got --from too, expected one of them.");
    request = read_inversion(flags.text("inversion")).request;
    request.inversion = flags.text("inversion");
  }
  const bool says_prompts =
      flags.has("prompt") || flags.has("prompt-file") || flags.has("negative-prompt");
  if (!flags.has("inversion") && (!recipe || says_prompts)) request.text.scheduled = true;
  apply_flags(flags, request);
  apply_word_flags(flags, request.words);
  const std::string parallel = flags.text("parallel", request.parallel);
  if (shares_from(parallel) == Together::Shares::nothing)
    request.parallel = parallel == "none" ? "" : parallel;
  if (recipe && !request.model.empty() && !flags.has("model") && !fs::exists(request.model))
    throw Error(flags.text("from") + ": got a recipe whose model " + request.model +
                " isn't there, expected one that is. Name it with --model.");
  request.columns = flags.integer("grid", 1, 1000, request.columns);
  return request;
}

Rows choose_rows(const Generation& generation) {
  const GenerateRequest& request = generation.request;
  Rows rows;
  for (const auto& text : request.compare)
    rows.push_back(choose_guidances({text}, generation.model));
  if (rows.empty()) rows.push_back(choose_guidances(request.guidances, generation.model));
  for (const auto& row : rows) require_renoising(*generation.sampler, row);
  return rows;
}

std::vector<size_t> images_to_make(const Outputs& outputs, size_t images) {
  std::vector<size_t> indices;
  for (size_t i = 0; i < images; ++i)
    if (!outputs.skip_existing || !fs::exists(image_path(outputs, i))) indices.push_back(i);
  return indices;
}

std::vector<ImageSpec> chosen(const std::vector<ImageSpec>& images,
                              const std::vector<size_t>& indices) {
  std::vector<ImageSpec> specs;
  for (const size_t i : indices) specs.push_back(images[i]);
  return specs;
}

/// Writes the image in `row` of those done, and its overlays.
void write_image(Run& run, const fs::path& path, const BatchOf& batch, const DoneImages& done,
                 int64_t row) {
  const PngText text = image_text(run.generation, run.rows.front(), batch);
  write_png(path, done.pixels[row], text);
  if (run.first_image == 0) run.first_image = process_age();
  write_overlays(path, done.pixels[row],
                 word_maps(run.generation, batch.images[batch.row], done, row), text);
}

/// Writes the images of a batch. made: their indices in the run.
void write_images(Run& run, const std::vector<ImageSpec>& batch, std::span<const size_t> made,
                  const DoneImages& done) {
  const c10::InferenceMode inference;
  for (size_t row = 0; row < batch.size(); ++row)
    write_image(run, image_path(run.outputs, made[row]), {batch, row}, done, int64_t(row));
}

/// Whether this process writes the images that it makes.
bool writes(const Run& run) {
  return run.together.first() || run.together.shares == Together::Shares::batch;
}

Observer previews(const Run& run) {
  return run.together.first() ? preview_writer(run.generation, run.outputs.preview) : Observer();
}

/// What the processes made, each its part: for the first one, once all are done.
KeptImages brought_together(const Run& run, KeptImages kept) {
  if (!run.together.group || run.together.shares != Together::Shares::batch) return kept;
  run.together.processes->meet("row " + std::to_string(run.costs.size()));
  return gathered(*run.together.group, kept);
}

/// One row of the run's images, by this process or its part of them. own: their indices.
void make_row(Run& run, std::span<ChosenGuidance> guidances, const std::vector<size_t>& own,
              Progress& progress) {
  const auto images = chosen(run.generation.images, own);
  KeptImages kept;
  Behind writing;
  const GuidanceCost cost = run_images(
      run.generation, guidances, images, run.generation.request.batch, progress,
      [&](size_t first, const DoneImages& done) {
        if (!writes(run)) return;
        const auto begin = images.begin() + std::ptrdiff_t(first);
        const std::vector<ImageSpec> specs(begin, begin + done.samples.size(0));
        if (writes_images(run))
          writing.run([&run, &own, specs, first, done] {
            write_images(run, specs, std::span(own).subspan(first), done);
          });
        keep(kept, run.generation, run.outputs, done);
      },
      previews(run));
  writing.finish();
  append(run.kept, brought_together(run, std::move(kept)));
  run.costs.push_back(total_cost(run.together, cost));
}

void make_images(Run& run) {
  const std::vector<size_t> own = own_part(run.together, run.made);
  Progress progress("sampling",
                    int64_t(run.rows.size() * own.size()) * run.generation.trajectory.steps(),
                    "steps");
  for (auto& guidances : run.rows) make_row(run, guidances, own, progress);
  progress.complete();
}

DoneImages one_of(const DoneImages& done, int64_t row) {
  const auto part = [&](const Tensor& x) { return x.defined() ? x.narrow(0, row, 1) : x; };
  return {.samples = part(done.samples),
          .pixels = part(done.pixels),
          .attention = part(done.attention),
          .effects = part(done.effects),
          .straightness = part(done.straightness)};
}

/// Repeats the batch that an image was made in, and keeps that image. Where processes share images
/// it is the first one's.
void repeat_image(Run& run, const BatchOf& batch) {
  const Generation& generation = run.generation;
  Progress progress("sampling", int64_t(batch.images.size()) * generation.trajectory.steps(),
                    "steps");
  DoneImages image;
  GuidanceCost cost;
  if (run.together.first() || !writes(run))
    cost = run_images(
        generation, run.rows.front(), batch.images, batch.images.size(), progress,
        [&](size_t, const DoneImages& done) { image = one_of(done, int64_t(batch.row)); },
        previews(run));
  progress.complete();
  if (run.together.group) run.together.processes->meet("image");
  run.costs.push_back(total_cost(run.together, cost));
  if (!run.together.first()) return;
  keep(run.kept, generation, run.outputs, image);
  if (writes_images(run)) write_image(run, image_path(run.outputs, 0), batch, image, 0);
}

void require_labels(const Generation& generation, const BatchOf& batch) {
  const int64_t classes = generation.model.classes;
  for (const auto& image : batch.images)
    if (classes == 0 ? image.label != -1 : image.label < 0 || image.label >= classes)
      throw Error("--from: got a recipe with class " + std::to_string(image.label) +
                  ", expected one of the model's " + std::to_string(classes) + ".");
}

void write_collected(const Run& run) {
  if (!run.kept.pixels.empty())
    write_grid(run.outputs, run.generation, at::cat(run.kept.pixels), run.rows);
  const DoneImages maps = collected_maps(run.kept);
  const GenerateRequest& request = run.generation.request;
  if (!run.outputs.maps.empty()) save_maps(run.outputs.maps, request, maps);
  if (!writes_images(run))
    write_overlay_grid(run.outputs.path, request, maps,
                       grid_columns(request, int64_t(run.generation.images.size())));
  if (!run.outputs.pairs.empty()) write_pairs(run);
  if (!run.outputs.latents.empty())
    save_safetensors(run.outputs.latents, {{"latents", at::cat(run.kept.samples)}},
                     {{"format", "pt"}});
  if (run.generation.keeps_state) {
    const InversionState state = joined(run.kept.states);
    write_inversion(run.outputs.inversion, run.generation, state,
                    as_stored(at::cat(run.kept.starts), state));
  }
}

/// Most models of text want classifier-free guidance; distilled ones are told a scale.
void hint_at_guidance(const Flags& flags, const Generation& generation) {
  const GenerateRequest& request = generation.request;
  const bool chosen = !request.guidances.empty() || !request.compare.empty();
  if (!generation.model.text || generation.model.guidance_channels || chosen) return;
  if (flags.has("quiet") || flags.has("json")) return;
  std::cerr
      << "Nothing guides the model: most want --guidance cfg:scale=7.5 (turbo models none).\n";
}

/// Throws UsageError where a prompt changes from step to step and something needs one for all.
void require_steady_prompts(const Generation& generation) {
  if (generation.prompts.schedules.empty()) return;
  const auto refuse = [&](const std::string& what) {
    throw UsageError(what + ": got the prompt '" +
                     printable(generation.prompts.schedules.begin()->first) +
                     "', which changes from step to step, expected one that doesn't.");
  };
  if (generation.keeps_state) refuse("--save-inversion");
  if (generation.inversion) refuse("--inversion");
  if (!generation.request.parallel.empty()) refuse("--parallel");
  if (!generation.request.words.maps.empty()) refuse("--attention-map");
  if (!generation.request.words.effects.empty()) refuse("--attention-effect");
}

/// Throws UsageError or Error on what can't be done, before anything is computed.
void check(const Flags& flags, Run& run) {
  check_words(flags, run.generation);
  require_read_images(run.generation);
  run.outputs =
      choose_outputs(flags, run.generation.request, int64_t(run.generation.images.size()));
  run.rows = choose_rows(run.generation);
  run.generation.keeps_state = !run.outputs.inversion.empty();
  check_together(run.together, run.generation);
  require_steady_prompts(run.generation);
  if (!run.generation.request.compare.empty() &&
      (run.generation.keeps_state || run.generation.inversion))
    throw UsageError(std::string("--compare: got ") +
                     (run.generation.inversion ? "--inversion" : "--save-inversion") +
                     " too, expected --guidance: such a file is of one row.");
  if (run.generation.keeps_state || run.generation.inversion)
    require_invertible(run.generation, run.rows.front());
  if (run.generation.keeps_state && !run.generation.parts.valid())
    run.generation.parts = begin_part_hashes(run.generation.request);
  if (!run.generation.inversion) require_descent(run.generation, run.generation.trajectory.steps());
  for (const auto& row : run.rows) {
    check_parallel(run.generation, row);
    check_cache(run.generation, row);
    check_effects(run.generation, row);
  }
}

/// The first process's answer, since images may appear while others still look.
std::vector<size_t> same_everywhere(const Together& together, const std::vector<size_t>& indices) {
  if (!together.group) return indices;
  const std::vector<int64_t> numbers(indices.begin(), indices.end());
  const Tensor first = together.group->gather({at::tensor(numbers, at::kLong)}).front().front();
  const auto* begin = first.const_data_ptr<int64_t>();
  return {begin, begin + first.numel()};
}

void tell(const Flags& flags, const Run& run) {
  if (flags.has("json"))
    std::cout << indented(report(run)) << "\n";
  else if (!flags.has("quiet"))
    print_result(run);
  warn_of_others(run);
}

/// Of the images that are there already the first.
void note_skipped(const Flags& flags, const Run& run) {
  const auto& images = run.generation.images;
  if (run.made.size() == images.size()) return;
  size_t index = 0;
  while (index < run.made.size() && run.made[index] == index) ++index;
  const BatchOf batch{{images[index]}, 0};
  note_other_settings(flags, image_path(run.outputs, index),
                      image_text(run.generation, run.rows.front(), batch));
}

int generate(const Flags& flags) {
  const auto recipe = recipe_of(flags);
  GenerateRequest request = read_request(flags, recipe);
  Run run{.together = meet(flags.text("parallel"), request)};
  Together& together = run.together;
  Progress::set_quiet(flags.has("quiet") || flags.has("json") || !together.first());
  request.device = device_of_process(request.device, together.processes->launch());
  const auto start = Clock::now();
  run.generation = prepare(std::move(request));
  if (recipe) {
    require_model(*recipe, run.generation.model, flags.text("from"));
    require_inputs(recipe->inputs, run.generation.inputs, "--from " + flags.text("from"));
  }
  check(flags, run);
  connect(together, run.generation);
  run.made = same_everywhere(together, images_to_make(run.outputs, run.generation.images.size()));
  run.load_seconds = seconds_since(start);
  if (together.first()) {
    hint_at_guidance(flags, run.generation);
    note_idle_options(flags, run.generation);
    note_skipped(flags, run);
    note_unread_negative(flags, {run.rows.begin(), run.rows.end()});
  }

  const auto sampling = Clock::now();
  if (recipe && !recipe->batch.images.empty()) {
    require_labels(run.generation, recipe->batch);
    repeat_image(run, recipe->batch);
  } else {
    make_images(run);
  }
  if (!together.first()) return 0;
  write_collected(run);
  const InversionFile* file = run.generation.inversion.get();
  if (file && file->state.level < run.generation.trajectory.steps())
    run.came_back = came_back(run.generation, joined(run.kept.states).latents);
  run.seconds = seconds_since(sampling);
  tell(flags, run);
  return 0;
}

std::vector<Flag> generate_flags() {
  std::vector<Flag> flags = request_flags();
  flags.insert(flags.end(), word_flags().begin(), word_flags().end());
  flags.insert(flags.end(), output_flags().begin(), output_flags().end());
  flags.push_back(
      {"from", "IMAGE.png", "the recipe of a PNG: the same bytes; other flags override"});
  flags.push_back({"inversion", "FILE", "what `tiller invert` wrote: its image again"});
  flags.push_back({"parallel", "HOW[:key=value,...]",
                   "branches|batch: shared by processes; picard, taa: steps at once"});
  flags.push_back({"json", "", "one JSON object on standard output"});
  flags.push_back({"quiet", "", "no progress"});
  return flags;
}

}  // namespace

Command generate_command() {
  return {.name = "generate",
          .description = "Draws images, each from its seed and class.",
          .operand = "",
          .flags = generate_flags(),
          .examples =
              {"tiller generate --class frog --seed 7 --guidance cfg:scale=2 --output frog.png",
               "tiller generate --model sd15/ --prompt 'a lighthouse' --guidance 'cfg:scale=7.5 + "
               "pag:scale=2'"},
          .run = generate};
}

}  // namespace tiller
