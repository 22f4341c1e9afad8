#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <chrono>

#include "io/error.h"
#include "io/image.h"
#include "metrics/reconstruction.h"
#include "tools/conditioning.h"
#include "tools/decoding.h"
#include "tools/evaluate.h"
#include "tools/evaluation_data.h"
#include "tools/evaluation_run.h"
#include "tools/inversion_file.h"
#include "tools/inverting.h"
#include "tools/notes.h"
#include "tools/outputs.h"

namespace tiller {
namespace {

using Clock = std::chrono::steady_clock;

/// The name of the row that says what the VAE alone makes of the images.
constexpr const char* vae_alone = "VAE alone";

std::vector<FigureColumn> inversion_columns() {
  return {
      {"latent_mse", "latent MSE", "mean squared difference of the latent and what came back"},
      {"latent_max_error", "latent max", "largest difference of any latent value, over all images",
       true},
      {"bit_equal", "bit-equal", "share of the images whose latent came back with every bit"},
      {"image_mse", "image MSE", "mean squared difference of the images, values of 0 to 1"},
      {"psnr", "PSNR", "of the images, in dB, the mean over images; inf: equal"},
      {"ssim", "SSIM", "structural similarity of the images; 1: equal"},
      {"lpips", "LPIPS", "perceptual distance of the images; 0: equal"},
      {"noise_std", "noise std", "standard deviation of the noise latent; of noise: 1"},
      {"noise_kurtosis", "kurtosis", "fourth moment of the noise latent over std^4; of noise: 3"},
      {"evaluations", "evaluations", "evaluations of the network an image, both ways"},
      {"seconds", "seconds", "an image, both ways, without the VAE"}};
}

struct InversionEvaluation {
  Generation generation;
  EvaluationData data;
  std::vector<std::string> methods;
  EvaluationReport report;
  ChosenLpips lpips;
  int64_t pictures = 0;
};

/// A batch of the data: its images and what the model is told of them.
struct Batch {
  int64_t first;
  Tensor pixels;
  std::span<const ImageSpec> specs;
};

Batch batch_at(const InversionEvaluation& evaluation, int64_t first) {
  const EvaluationData& data = evaluation.data;
  const int64_t rows = std::min(evaluation.generation.request.batch, data.images.size(0) - first);
  return {first, data.images.narrow(0, first, rows),
          std::span(data.specs).subspan(size_t(first), size_t(rows))};
}

std::vector<std::string> chosen_methods(const Flags& flags) {
  std::vector<std::string> methods = named_methods(flags);
  if (methods.empty())
    for (const auto& sampler : samplers())
      if (sampler.inverse.ascend) methods.push_back(sampler.name);
  return methods;
}

void tell_subjects(InversionEvaluation& evaluation) {
  Generation& generation = evaluation.generation;
  generation.images = evaluation.data.specs;
  if (!generation.model.text) return;
  generation.request.text.prompts.clear();
  for (const auto& spec : generation.images) generation.request.text.prompts.push_back(spec.prompt);
  generation.prompts = encode_prompts(generation);
}

/// Throws UsageError where a method can't be used with the model, the guidance or its own options.
void try_method(InversionEvaluation& evaluation, const std::string& method) {
  Generation& generation = evaluation.generation;
  use_sampler(generation, method);
  auto guidances = choose_guidances(generation.request.guidances, generation.model);
  require_invertible(generation, guidances);
  const Batch batch = batch_at(evaluation, 0);
  const int end = generation.trajectory.steps();
  require_ascent(generation, end);
  const ImageSize size = latent_size(generation);
  const Tensor latents =
      at::zeros({int64_t(batch.specs.size()), generation.model.network->out_channels(), size.height,
                 size.width});
  GuidanceCost cost;
  invert_latents(generation, guidances, batch.specs, {.level = end, .latents = latents},
                 {.until = end, .verify = Verify::off}, cost);
}

std::string key_of(const InversionEvaluation& evaluation, const std::string& method,
                   const Batch& batch) {
  Json more = {{"method", method}, {"pixels", tensor_hash(batch.pixels)}};
  for (const auto& spec : batch.specs) {
    more["seeds"].push_back(spec.seed);
    more["labels"].push_back(spec.label);
    more["prompts"].push_back(spec.prompt);
  }
  return batch_key(evaluation.report.recipe, more);
}

/// A batch as it came back.
struct WayBack {
  Tensor start, end, noise;  ///< Latents as floats on the CPU; the noise in units of its level's.
  std::vector<bool> equal;   ///< Of each image, whether no bit changed.
  GuidanceCost cost;
  double seconds = 0;
};

WayBack there_and_back(const Generation& generation, std::span<ChosenGuidance> guidances,
                       const Batch& batch, const Tensor& latents, const Observer& observer) {
  const InvertOptions options{.verify = Verify::off};
  WayBack way;
  const auto start = Clock::now();
  const InversionState noise = invert_latents(
      generation, guidances, batch.specs,
      {.level = generation.trajectory.steps(), .latents = latents}, options, way.cost, observer);
  const InversionState back =
      regenerate_latents(generation, guidances, batch.specs, noise, options, way.cost, observer);
  const Tensor end = back.latents.to(at::kCPU);
  way.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  const Tensor begin = as_stored(latents, back).to(at::kCPU);
  for (int64_t row = 0; row < begin.size(0); ++row)
    way.equal.push_back(bit_equal(begin[row], end[row]));
  way.start = float_latents(begin);
  way.end = float_latents(end);
  way.noise = unit_noise(generation, noise.latents);
  return way;
}

void measure_latents(const WayBack& way, std::vector<ImageFigures>& figures) {
  const auto images = double(figures.size());
  for (size_t i = 0; i < figures.size(); ++i) {
    const auto row = int64_t(i);
    const NoiseMoments noise = noise_moments(way.noise[row]);
    figures[i].values = {{"latent_mse", mean_squared_error(way.start[row], way.end[row])},
                         {"latent_max_error", max_error(way.start[row], way.end[row])},
                         {"bit_equal", way.equal[i] ? 1 : 0},
                         {"noise_std", noise.std},
                         {"noise_kurtosis", noise.kurtosis},
                         {"evaluations", double(way.cost.evaluations)},
                         {"seconds", way.seconds / images}};
  }
}

/// pixels: (B, 3, H, W) uint8, as they came back.
void measure_images(const InversionEvaluation& evaluation, const Batch& batch, const Tensor& pixels,
                    std::vector<ImageFigures>& figures) {
  const Tensor a = batch.pixels.to(at::kDouble) / 255, b = pixels.to(at::kDouble) / 255;
  const auto& lpips = evaluation.lpips.distance;
  const Tensor distances = lpips ? (*lpips)(batch.pixels, pixels) : Tensor();
  for (size_t i = 0; i < figures.size(); ++i) {
    const auto row = int64_t(i);
    auto& values = figures[i].values;
    values["image_mse"] = mean_squared_error(a[row], b[row]);
    values["psnr"] = psnr(a[row], b[row], 1);
    values["ssim"] = ssim(a[row], b[row], 1);
    if (lpips) values["lpips"] = distances[row].item<double>();
  }
}

int64_t shown_rows(const InversionEvaluation& evaluation, const Batch& batch) {
  return std::clamp<int64_t>(evaluation.pictures - batch.first, 0, batch.pixels.size(0));
}

/// What a batch gave, with the pictures written.
std::vector<ImageFigures> measure(const InversionEvaluation& evaluation,
                                  std::span<ChosenGuidance> guidances, const std::string& method,
                                  const Batch& batch, const std::string& key,
                                  const Observer& observer) {
  const Generation& generation = evaluation.generation;
  std::vector<ImageFigures> figures(batch.specs.size());
  Tensor latents = latents_of(generation, batch.pixels);
  if (method != vae_alone) {
    const WayBack way = there_and_back(generation, guidances, batch, latents, observer);
    measure_latents(way, figures);
    latents = way.end;
  }
  const Tensor pixels = to_pixels(generation, latents.to(generation.device, at::kFloat));
  measure_images(evaluation, batch, pixels, figures);
  for (int64_t row = 0; row < shown_rows(evaluation, batch); ++row)
    write_png(evaluation.report.folder / picture_file(key, row), pixels[row]);
  return figures;
}

MethodFigures run_method(InversionEvaluation& evaluation, const std::string& method,
                         EvaluationLog& log, Progress& progress) {
  Generation& generation = evaluation.generation;
  const bool samples = method != vae_alone;
  if (samples) use_sampler(generation, method);
  auto guidances = choose_guidances(
      samples ? generation.request.guidances : std::vector<std::string>{}, generation.model);
  MethodFigures result{method, {}, {}};
  for (int64_t first = 0; first < evaluation.data.images.size(0);) {
    const Batch batch = batch_at(evaluation, first);
    const int64_t rows = batch.pixels.size(0), steps = 2 * generation.trajectory.steps() * rows;
    int64_t told = 0;
    const auto watch = [&](const StepReport&) {
      if (told + rows <= steps) progress.advance(rows, method);
      told += rows;
    };
    const std::string key = key_of(evaluation, method, batch);
    const BatchRun run{key, rows, shown_rows(evaluation, batch),
                       [&] { return measure(evaluation, guidances, method, batch, key, watch); }};
    const auto figures = run_batch(run, log, evaluation.report.folder);
    if (samples && told < steps) progress.advance(steps - told, method);
    add_batch(run, figures, result);
    first += rows;
  }
  return result;
}

InversionEvaluation begin(const Flags& flags) {
  InversionEvaluation evaluation;
  const fs::path data = flags.required("data", "images to invert");
  EvaluationReport& report = evaluation.report;
  report.folder = report_folder(flags);
  evaluation.pictures = flags.integer("pictures", 0, 10'000, 4);
  evaluation.methods = chosen_methods(flags);
  GenerateRequest asked;
  asked.steps = 50;
  apply_flags(flags, asked);
  evaluation.generation = prepare(evaluation_request(asked, evaluation.methods.front()));
  note_unread_flags(flags, evaluation.generation.model);
  evaluation.data = load_evaluation_data(data, flags.integer("count", 1, RequestLimits::images, 0),
                                         evaluation.generation, asked);
  tell_subjects(evaluation);
  evaluation.lpips = choose_lpips(flags, evaluation.generation);
  evaluation.methods = usable_methods(
      evaluation.methods, flags.has("method"),
      [&](const std::string& method) { try_method(evaluation, method); }, report);
  report.task = "inversion";
  report.title = "Inversion, method by method";
  report.about = "Each method takes every image to noise and back with the same network. " +
                 std::to_string(evaluation.data.images.size(0)) + " images.";
  report.columns = inversion_columns();
  report.recipe = evaluation_recipe(evaluation.generation, data);
  report.recipe["lpips"] = evaluation.lpips.hashes;
  return evaluation;
}

std::vector<ShownImage> shown_inversions(const InversionEvaluation& evaluation) {
  const EvaluationData& data = evaluation.data;
  std::vector<ShownImage> images;
  for (int64_t i = 0; i < std::min(evaluation.pictures, data.images.size(0)); ++i)
    images.push_back({data.names[i], data.images[i]});
  return images;
}

}  // namespace

int evaluate_inversion(const Flags& flags) {
  const c10::NoGradGuard no_grad;
  InversionEvaluation evaluation = begin(flags);
  EvaluationReport& report = evaluation.report;
  EvaluationLog log(report.folder / "images.jsonl");
  const int64_t images = evaluation.data.images.size(0);
  Progress progress(
      "inverting",
      int64_t(evaluation.methods.size()) * images * 2 * evaluation.generation.trajectory.steps(),
      "steps");
  if (evaluation.generation.model.vae)
    report.methods.push_back(run_method(evaluation, vae_alone, log, progress));
  for (const auto& method : evaluation.methods)
    report.methods.push_back(run_method(evaluation, method, log, progress));
  progress.finish();
  finish_report(report, shown_inversions(evaluation), flags);
  return 0;
}

}  // namespace tiller
