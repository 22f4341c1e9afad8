#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <chrono>
#include <cmath>

#include "io/error.h"
#include "io/image.h"
#include "metrics/clip_similarity.h"
#include "metrics/reconstruction.h"
#include "metrics/structure_distance.h"
#include "samplers/lattice.h"
#include "tools/decoding.h"
#include "tools/edit_checks.h"
#include "tools/edit_method.h"
#include "tools/evaluate.h"
#include "tools/evaluation_edits.h"
#include "tools/evaluation_run.h"
#include "tools/inputs.h"
#include "tools/inversion_file.h"
#include "tools/notes.h"
#include "tools/outputs.h"

namespace tiller {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<FigureColumn> editing_columns() {
  return {
      {"psnr", "PSNR", "of what the edit isn't to change, in dB: outside the mask, which is black"},
      {"ssim", "SSIM", "structural similarity outside the mask; 1: equal"},
      {"mse", "MSE", "mean squared difference outside the mask, values of 0 to 1"},
      {"lpips", "LPIPS", "perceptual distance outside the mask; 0: equal"},
      {"structure", "structure", "distance of DINO's self-similarities, before and after"},
      {"clip", "CLIP", "similarity of the edited image and what it is to show, 100 cos"},
      {"clip_edited", "CLIP edited", "the same of the part inside the mask, the rest black"},
      {"evaluations", "evaluations", "evaluations of the network an edit"},
      {"seconds", "seconds", "an edit, without the VAE"}};
}

struct EditEvaluation {
  Editing editing;
  EvaluationEdits edits;
  std::vector<EditMethod> methods;
  double from = 1;  ///< Share of the steps undone, the same for all methods.
  std::vector<std::string> edit_guidances;  ///< Of the way back; empty: as the way to noise.
  EvaluationReport report;
  ChosenLpips lpips;
  std::optional<StructureDistance> structure;
  std::optional<ClipSimilarity> clip;
  int64_t pictures = 0;
};

void choose_sampler_of(EditEvaluation& evaluation, const EditMethod& method) {
  Editing& editing = evaluation.editing;
  use_sampler(editing.source, method.sampler);
  editing.guidances = choose_guidances(editing.source.request.guidances, editing.source.model);
  if (!evaluation.edit_guidances.empty())
    editing.edit_guidances = choose_guidances(evaluation.edit_guidances, editing.source.model);
}

EditRequest request_of(const EditEvaluation& evaluation, const EditMethod& method,
                       const EvaluationEdit& edit) {
  EditRequest request;
  if (evaluation.editing.source.model.text)
    request.prompt = edit.after.prompt;
  else
    request.label = std::to_string(edit.after.label);
  request.from = evaluation.from;
  request.guidances = evaluation.edit_guidances;
  request.control = method.control;
  if (method.blend == EditMethod::Blend::words) request.blend_words = edit.blend_words;
  request.blend_threshold = method.blend_threshold;
  request.reconstruct = false;
  return request;
}

/// Throws UsageError where a method can't be used with the model, the guidance, the data or its own
/// options: tries it on an edit that changes nothing.
void try_method(EditEvaluation& evaluation, const EditMethod& method) {
  Editing& editing = evaluation.editing;
  const Model& model = editing.source.model;
  choose_sampler_of(evaluation, method);
  require_invertible(editing.source, editing.guidances);
  if (editing.edit_guidances) require_invertible(editing.source, *editing.edit_guidances);
  if (method.blend != EditMethod::Blend::none && evaluation.edits.benchmark.empty())
    throw UsageError("blend: got data without masks and words, expected PIE-Bench's.");
  EvaluationEdit nothing;
  nothing.before = nothing.after = {0, model.text ? -1 : 0};
  change_edit(editing, nothing.before, request_of(evaluation, method, nothing), {});
}

std::string key_of(const EditEvaluation& evaluation, const EditMethod& method,
                   const EvaluationEdit& edit) {
  return batch_key(evaluation.report.recipe,
                   {{"task", "editing"},
                    {"method", method.text},
                    {"pixels", tensor_hash(edit.pixels)},
                    {"mask", edit.mask.defined() ? tensor_hash(edit.mask) : ""},
                    {"seed", edit.before.seed},
                    {"labels", {edit.before.label, edit.after.label}},
                    {"prompts", {edit.before.prompt, edit.after.prompt}},
                    {"blend_words", edit.blend_words}});
}

struct Edited {
  Tensor pixels;  ///< (3, H, W) uint8.
  double evaluations = 0, seconds = 0;
};

Edited edited(EditEvaluation& evaluation, const EditMethod& method, const EvaluationEdit& edit) {
  Editing& editing = evaluation.editing;
  const Tensor white = method.blend == EditMethod::Blend::mask
                           ? (edit.mask * 255).to(at::kByte).expand({3, -1, -1})
                           : Tensor();
  change_edit(editing, edit.before, request_of(evaluation, method, edit), white);
  const Tensor latents = latents_of(editing.source, edit.pixels.unsqueeze(0));
  const auto start = Clock::now();
  const EditedLatents result = edit_latents(editing, latents, Verify::off, [](int64_t) {});
  const Tensor after = float_latents(result.edited).to(at::kCPU, at::kFloat);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return {to_pixels(editing.source, after.to(editing.source.device))[0],
          double(result.cost.evaluations), seconds};
}

/// Of what the edit isn't to change. mask: (H, W).
void measure_outside(const EditEvaluation& evaluation, const Tensor& before, const Tensor& after,
                     const Tensor& mask, ImageFigures& figures) {
  if (mask.min().item<double>() == 1) return;
  const Tensor a = outside(before.to(at::kDouble) / 255, mask),
               b = outside(after.to(at::kDouble) / 255, mask);
  figures.values["psnr"] = psnr(a, b, 1);
  figures.values["ssim"] = ssim(a, b, 1);
  figures.values["mse"] = mean_squared_error(a, b);
  if (!evaluation.lpips.distance) return;
  const auto masked = [&](const Tensor& image) { return outside(image, mask.to(at::kByte)); };
  figures.values["lpips"] =
      (*evaluation.lpips.distance)(masked(before).unsqueeze(0), masked(after).unsqueeze(0))
          .item<double>();
}

ImageFigures figures_of(const EditEvaluation& evaluation, const EvaluationEdit& edit,
                        const Edited& made) {
  ImageFigures figures;
  figures.values = {{"evaluations", made.evaluations}, {"seconds", made.seconds}};
  const bool bounded = edit.mask.defined();
  const Tensor mask = bounded ? edit.mask : at::zeros({edit.pixels.size(1), edit.pixels.size(2)});
  measure_outside(evaluation, edit.pixels, made.pixels, mask, figures);
  if (evaluation.structure)
    figures.values["structure"] = (*evaluation.structure)(edit.pixels, made.pixels);
  if (!evaluation.clip) return figures;
  const std::string text = subject_of(evaluation.editing.source.model, edit.after);
  figures.values["clip"] = (*evaluation.clip)(made.pixels, text);
  if (bounded && mask.max().item<double>() == 1)
    figures.values["clip_edited"] = (*evaluation.clip)(made.pixels * mask.to(at::kByte), text);
  return figures;
}

/// With the picture written where it is shown. What is wrong with one edit leaves the others.
std::vector<ImageFigures> measure(EditEvaluation& evaluation, const EditMethod& method,
                                  const EvaluationEdit& edit, const fs::path& picture) {
  try {
    const Edited made = edited(evaluation, method, edit);
    if (!picture.empty()) write_png(picture, made.pixels);
    return {figures_of(evaluation, edit, made)};
  } catch (const UsageError& error) {
    throw Error(edit.name + ": " + error.what());
  }
}

/// Of edit `index`; one whose image can't be used has failed.
void run_edit(EditEvaluation& evaluation, const EditMethod& method, int64_t index,
              EvaluationLog& log, MethodFigures& result) {
  const fs::path& folder = evaluation.report.folder;
  const int64_t shown = index < evaluation.pictures ? 1 : 0;
  EvaluationEdit edit;
  try {
    edit = edit_at(evaluation.edits, index, evaluation.editing.source);
  } catch (const Error& error) {
    result.images.push_back({.values = {}, .failure = error.what()});
    if (shown) result.pictures.emplace_back();
    return;
  }
  const std::string key = key_of(evaluation, method, edit);
  const BatchRun run{key, 1, shown, [&] {
                       return measure(evaluation, method, edit,
                                      shown ? folder / picture_file(key, 0) : fs::path());
                     }};
  add_batch(run, run_batch(run, log, folder), result);
}

MethodFigures run_method(EditEvaluation& evaluation, const EditMethod& method, EvaluationLog& log,
                         Progress& progress) {
  choose_sampler_of(evaluation, method);
  MethodFigures result{method.text, {}, {}};
  for (int64_t i = 0; i < evaluation.edits.size(); ++i) {
    run_edit(evaluation, method, i, log, result);
    progress.advance(1, method.text);
  }
  return result;
}

void load_measures(EditEvaluation& evaluation, const Flags& flags) {
  const Generation& source = evaluation.editing.source;
  Json& recipe = evaluation.report.recipe;
  evaluation.lpips = choose_lpips(flags, source);
  recipe["lpips"] = evaluation.lpips.hashes;
  if (flags.has("structure")) {
    const fs::path file = flags.text("structure");
    evaluation.structure.emplace(file, source.device);
    recipe["structure"] = input_hash(file);
  }
  if (flags.has("clip")) {
    const fs::path folder = flags.text("clip");
    evaluation.clip.emplace(folder, source.device);
    recipe["clip"] = input_hash(folder);
  }
}

void choose_methods(EditEvaluation& evaluation, std::vector<std::string> texts, bool named) {
  if (!named) texts = usual_edit_methods(bool(evaluation.editing.source.model.text));
  const auto check = [&](const std::string& text) { try_method(evaluation, edit_method(text)); };
  for (const auto& text : usable_methods(texts, named, check, evaluation.report))
    evaluation.methods.push_back(edit_method(text));
}

void describe_run(EditEvaluation& evaluation, const fs::path& data) {
  EvaluationReport& report = evaluation.report;
  report.task = "editing";
  report.title = "Editing, method by method";
  report.about =
      "Each method inverts every image under what it shows and regenerates it as what "
      "it is to show, with the same network. " +
      std::to_string(evaluation.edits.size()) + " edits, " +
      std::to_string(std::lround(100 * evaluation.from)) + "% of the steps undone.";
  report.columns = editing_columns();
  report.recipe = evaluation_recipe(evaluation.editing.source, data);
  report.recipe["edit_from"] = evaluation.from;
  if (!evaluation.edit_guidances.empty())
    report.recipe["edit_guidance"] = evaluation.edit_guidances;
}

void begin(EditEvaluation& evaluation, const Flags& flags) {
  const fs::path data = flags.required("data", "PIE-Bench's folder, or images");
  evaluation.report.folder = report_folder(flags);
  evaluation.pictures = flags.integer("pictures", 0, 10'000, 4);
  evaluation.from = flags.number("edit-from", 0, 1, 1);
  evaluation.edit_guidances = flags.all("edit-guidance");
  const auto methods = named_methods(flags);
  GenerateRequest asked;
  asked.steps = 50;
  apply_flags(flags, asked);
  asked.batch = 1;
  Generation& source = evaluation.editing.source;
  source = prepare_source(
      evaluation_request(asked, methods.empty() ? "bdia" : edit_method(methods.front()).sampler),
      {.guidances = evaluation.edit_guidances});
  note_unread_flags(flags, source.model);
  evaluation.edits = load_evaluation_edits(
      data, flags.integer("count", 1, RequestLimits::images, 0), flags, source, asked);
  describe_run(evaluation, data);
  choose_methods(evaluation, methods, flags.has("method"));
  load_measures(evaluation, flags);
}

std::vector<ShownImage> shown_edits(const EditEvaluation& evaluation) {
  const Generation& source = evaluation.editing.source;
  std::vector<ShownImage> images;
  for (int64_t i = 0; i < std::min(evaluation.pictures, evaluation.edits.size()); ++i) try {
      const EvaluationEdit edit = edit_at(evaluation.edits, i, source);
      images.push_back({edit.name + ": " + subject_of(source.model, edit.before) + " to " +
                            subject_of(source.model, edit.after),
                        edit.pixels});
    } catch (const Error& error) {
      images.push_back({error.what(), at::zeros({3, 1, 1}, at::kByte)});
    }
  return images;
}

}  // namespace

int evaluate_editing(const Flags& flags) {
  const c10::NoGradGuard no_grad;
  EditEvaluation evaluation;
  begin(evaluation, flags);
  EvaluationReport& report = evaluation.report;
  EvaluationLog log(report.folder / "images.jsonl");
  Progress progress("editing", std::ssize(evaluation.methods) * evaluation.edits.size(), "edits");
  for (const auto& method : evaluation.methods)
    report.methods.push_back(run_method(evaluation, method, log, progress));
  progress.finish();
  finish_report(report, shown_edits(evaluation), flags);
  return 0;
}

}  // namespace tiller
