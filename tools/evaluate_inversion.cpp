#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <chrono>
#include <cmath>
#include <iostream>

#include "io/error.h"
#include "io/hash.h"
#include "io/image.h"
#include "metrics/lpips.h"
#include "metrics/reconstruction.h"
#include "tools/conditioning.h"
#include "tools/evaluate.h"
#include "tools/evaluation_log.h"
#include "tools/evaluation_report.h"
#include "tools/inverting.h"
#include "tools/program.h"

namespace tiller {
namespace {

using Clock = std::chrono::steady_clock;

/// The name of the row that says what the VAE alone makes of the images.
constexpr const char* vae_alone = "VAE alone";
constexpr int64_t images_in_memory = 256;  ///< As many at a time as any device takes.

struct Evaluation {
  Generation generation;
  EvaluationData data;
  std::vector<std::string> methods;
  InversionReport report;
  std::optional<Lpips> lpips;
  std::vector<std::string> lpips_hashes;
  int64_t pictures = 0;
};

/// A batch of the data: its images and what the model is told of them.
struct Batch {
  int64_t first;
  Tensor pixels;
  std::span<const ImageSpec> specs;
};

Batch batch_at(const Evaluation& evaluation, int64_t first) {
  const EvaluationData& data = evaluation.data;
  const int64_t rows = std::min(evaluation.generation.request.batch, data.images.size(0) - first);
  return {first, data.images.narrow(0, first, rows),
          std::span(data.specs).subspan(size_t(first), size_t(rows))};
}

std::string required(const Flags& flags, const std::string& flag, const std::string& expected) {
  if (flags.text(flag).empty())
    throw UsageError("--" + flag + ": got none, expected " + expected + ".");
  return flags.text(flag);
}

std::vector<std::string> chosen_methods(const Flags& flags) {
  std::vector<std::string> methods = flags.all("method");
  if (methods.empty())
    for (const auto& sampler : samplers())
      if (sampler.inverse.ascend) methods.push_back(sampler.name);
  for (size_t i = 0; i < methods.size(); ++i)
    if (std::find(methods.begin(), methods.begin() + i, methods[i]) != methods.begin() + i)
      throw UsageError("--method: got " + methods[i] + " twice, expected each once.");
  return methods;
}

/// The model, with the first method's sampler. Its prompts come with the data.
Generation prepared(const GenerateRequest& asked, const std::string& method) {
  GenerateRequest request = asked;
  request.sampler = method;
  request.classes.clear();
  request.count = std::max<int64_t>(1, request.batch ? request.batch : images_in_memory);
  request.text.prompts = {asked.text.prompts.empty() ? "" : asked.text.prompts.front()};
  const ModelFiles files =
      find_model(request.model.empty() ? default_model() : fs::path(request.model));
  if (files.kind == "adm") {
    if (!asked.text.prompts.empty())
      throw UsageError("--prompt: got one, expected none: the model reads no text.");
    request.text.prompts.clear();
  }
  return prepare(std::move(request));
}

void tell_subjects(Evaluation& evaluation) {
  Generation& generation = evaluation.generation;
  generation.images = evaluation.data.specs;
  if (!generation.model.text) return;
  generation.request.text.prompts.clear();
  for (const auto& spec : generation.images) generation.request.text.prompts.push_back(spec.prompt);
  generation.prompts = encode_prompts(generation);
}

/// Throws UsageError where a method can't be used with the model, the guidance or its own options.
void try_method(Evaluation& evaluation, const std::string& method) {
  Generation& generation = evaluation.generation;
  use_sampler(generation, method);
  auto guidances = choose_guidances(generation.request.guidances, generation.model);
  require_invertible(generation, guidances);
  const Batch batch = batch_at(evaluation, 0);
  const int end = generation.trajectory.steps();
  const ImageSize size = latent_size(generation);
  const Tensor latents =
      at::zeros({int64_t(batch.specs.size()), generation.model.network->out_channels(), size.height,
                 size.width});
  GuidanceCost cost;
  invert_latents(generation, guidances, batch.specs, {.level = end, .latents = latents},
                 {.until = end, .verify = Verify::off}, cost);
}

/// Methods that were named must work; of all that there are, those that can't be used are left out.
void check_methods(Evaluation& evaluation, bool named) {
  std::vector<std::string> usable;
  for (const auto& method : evaluation.methods) try {
      try_method(evaluation, method);
      usable.push_back(method);
    } catch (const UsageError& error) {
      if (named) throw UsageError("--method " + method + ": " + error.what());
      evaluation.report.left_out.emplace_back(method, error.what());
    }
  evaluation.methods = std::move(usable);
  if (evaluation.methods.empty())
    throw UsageError("--method: got none that can be used, expected one: " +
                     evaluation.report.left_out.front().second);
}

/// What the figures depend on beside the images and the method.
Json recipe_of(const Evaluation& evaluation, const fs::path& data) {
  const Generation& generation = evaluation.generation;
  const Json request = to_json(generation.request);
  Json recipe = {{"tiller", version()},
                 {"model", generation.model.file},
                 {"model_hash", generation.model.hash.get()},
                 {"data", data.string()},
                 {"steps", generation.request.steps},
                 {"guidance", generation.request.guidances},
                 {"width", generation.request.size.width},
                 {"height", generation.request.size.height},
                 {"batch", generation.request.batch},
                 {"device", generation.device.str()},
                 {"dtype", generation.request.dtype},
                 {"threads", at::get_num_threads()}};
  for (const char* key : {"seed", "negative_prompt", "negative_given", "plain_prompt", "clip_skip",
                          "prediction_type", "embedded_guidance", "share", "vae_tiling"})
    recipe[key] = request.at(key);
  recipe["inputs"] = generation.inputs;
  recipe["lpips"] = evaluation.lpips_hashes;
  return recipe;
}

/// Of a batch's results: what they depend on, as a hash.
std::string key_of(const Evaluation& evaluation, const std::string& method, const Batch& batch) {
  Json recipe = evaluation.report.recipe;
  for (const char* key : {"model", "data"}) recipe.erase(key);
  recipe["method"] = method;
  const Tensor pixels = batch.pixels.contiguous();
  recipe["pixels"] =
      sha256_of({static_cast<const char*>(pixels.const_data_ptr()), pixels.nbytes()});
  for (const auto& spec : batch.specs) {
    recipe["seeds"].push_back(spec.seed);
    recipe["labels"].push_back(spec.label);
    recipe["prompts"].push_back(spec.prompt);
  }
  return sha256_of(recipe.dump(-1, ' ', true, Json::error_handler_t::replace)).substr(0, 32);
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
  const NoiseLevel& level = generation.trajectory.levels.front();
  way.noise = float_latents(noise.latents).to(at::kCPU).to(at::kDouble) /
              std::hypot(level.alpha, level.sigma);
  return way;
}

void measure_latents(const WayBack& way, std::vector<InversionFigures>& figures) {
  const auto images = double(figures.size());
  for (size_t i = 0; i < figures.size(); ++i) {
    const auto row = int64_t(i);
    const NoiseMoments noise = noise_moments(way.noise[row]);
    InversionFigures& image = figures[i];
    image.latent_mse = mean_squared_error(way.start[row], way.end[row]);
    image.latent_max = max_error(way.start[row], way.end[row]);
    image.bit_equal = way.equal[i];
    image.noise_std = noise.std;
    image.noise_kurtosis = noise.kurtosis;
    image.evaluations = double(way.cost.evaluations);
    image.seconds = way.seconds / images;
  }
}

/// pixels: (B, 3, H, W) uint8, as they came back.
void measure_images(const Evaluation& evaluation, const Batch& batch, const Tensor& pixels,
                    std::vector<InversionFigures>& figures) {
  const Tensor a = batch.pixels.to(at::kDouble) / 255, b = pixels.to(at::kDouble) / 255;
  for (size_t i = 0; i < figures.size(); ++i) {
    const auto row = int64_t(i);
    InversionFigures& image = figures[i];
    image.image_mse = mean_squared_error(a[row], b[row]);
    image.psnr = psnr(a[row], b[row], 1);
    image.ssim = ssim(a[row], b[row], 1);
  }
  if (!evaluation.lpips) return;
  const Tensor distances = (*evaluation.lpips)(batch.pixels, pixels);
  for (size_t i = 0; i < figures.size(); ++i)
    figures[i].lpips = distances[int64_t(i)].item<double>();
}

std::string picture_file(const std::string& key, int64_t row) {
  return "pictures/" + key + "-" + std::to_string(row) + ".png";
}

int64_t shown_rows(const Evaluation& evaluation, const Batch& batch) {
  return std::clamp<int64_t>(evaluation.pictures - batch.first, 0, batch.pixels.size(0));
}

/// What a batch gave, with the pictures written.
std::vector<InversionFigures> measure(const Evaluation& evaluation,
                                      std::span<ChosenGuidance> guidances,
                                      const std::string& method, const Batch& batch,
                                      const std::string& key, const Observer& observer) {
  const Generation& generation = evaluation.generation;
  std::vector<InversionFigures> figures(batch.specs.size());
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

/// The results of an earlier run; none where they, or the pictures, aren't all there.
std::vector<InversionFigures> remembered(const Evaluation& evaluation, const EvaluationLog& log,
                                         const Batch& batch, const std::string& key) {
  const Json* results = log.find(key);
  if (!results || !results->is_array() || results->size() != batch.specs.size()) return {};
  std::vector<InversionFigures> figures;
  for (const auto& result : *results) figures.push_back(figures_from(result));
  for (int64_t row = 0; row < shown_rows(evaluation, batch); ++row)
    if (figures[row].failure.empty() &&
        !fs::exists(evaluation.report.folder / picture_file(key, row)))
      return {};
  return figures;
}

/// A method that fails on some images goes on with the others.
std::vector<InversionFigures> measured_or_failed(const Evaluation& evaluation,
                                                 std::span<ChosenGuidance> guidances,
                                                 const std::string& method, const Batch& batch,
                                                 const std::string& key, const Observer& observer) {
  try {
    return measure(evaluation, guidances, method, batch, key, observer);
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    InversionFigures failed;
    failed.failure = error.what();
    return std::vector<InversionFigures>(batch.specs.size(), failed);
  }
}

MethodFigures run_method(Evaluation& evaluation, const std::string& method, EvaluationLog& log,
                         Progress& progress) {
  Generation& generation = evaluation.generation;
  const bool samples = method != vae_alone;
  if (samples) use_sampler(generation, method);
  auto guidances = choose_guidances(
      samples ? generation.request.guidances : std::vector<std::string>{}, generation.model);
  MethodFigures result{method, {}, {}};
  for (int64_t first = 0; first < evaluation.data.images.size(0);) {
    const Batch batch = batch_at(evaluation, first);
    const int64_t rows = batch.pixels.size(0), steps = 2 * generation.trajectory.steps() * rows;
    const std::string key = key_of(evaluation, method, batch);
    int64_t told = 0;
    const auto watch = [&](const StepReport&) {
      if (told + rows <= steps) progress.advance(rows, method);
      told += rows;
    };
    auto figures = remembered(evaluation, log, batch, key);
    if (figures.empty()) {
      figures = measured_or_failed(evaluation, guidances, method, batch, key, watch);
      Json results = Json::array();
      for (const auto& image : figures) results.push_back(to_json(image));
      log.append(key, results);
    }
    if (samples && told < steps) progress.advance(steps - told, method);
    for (int64_t row = 0; row < shown_rows(evaluation, batch); ++row)
      result.pictures.push_back(figures[row].failure.empty() ? picture_file(key, row) : "");
    result.images.insert(result.images.end(), figures.begin(), figures.end());
    first += rows;
  }
  return result;
}

void load_lpips(Evaluation& evaluation, const Flags& flags) {
  if (!flags.has("lpips")) return;
  std::vector<fs::path> files;
  for (const auto& file : flags.all("lpips")) {
    files.emplace_back(file);
    evaluation.lpips_hashes.push_back(sha256_hex(file).substr(0, 16));
  }
  evaluation.lpips.emplace(files, evaluation.generation.device);
  const ImageSize& size = evaluation.generation.request.size;
  if (std::min(size.height, size.width) < Lpips::smallest_side)
    throw UsageError("--lpips: got it with images of " + to_text(size) +
                     ", expected sides of at least " + std::to_string(Lpips::smallest_side) + ".");
}

Evaluation begin(const Flags& flags) {
  Evaluation evaluation;
  const fs::path data = required(flags, "data", "images to invert");
  evaluation.report.folder = required(flags, "output", "a folder for the report");
  evaluation.pictures = flags.integer("pictures", 0, 10'000, 4);
  evaluation.methods = chosen_methods(flags);
  GenerateRequest asked;
  asked.steps = 50;
  apply_flags(flags, asked);
  evaluation.generation = prepared(asked, evaluation.methods.front());
  evaluation.data = load_evaluation_data(data, flags.integer("count", 1, RequestLimits::images, 0),
                                         evaluation.generation, asked);
  tell_subjects(evaluation);
  load_lpips(evaluation, flags);
  check_methods(evaluation, flags.has("method"));
  evaluation.report.recipe = recipe_of(evaluation, data);
  return evaluation;
}

}  // namespace

int evaluate_inversion(const Flags& flags) {
  const c10::NoGradGuard no_grad;
  Evaluation evaluation = begin(flags);
  InversionReport& report = evaluation.report;
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
  write_report(report, evaluation.data, evaluation.pictures);
  if (flags.has("json"))
    std::cout << report_json(report).dump(2) << "\n";
  else
    std::cout << report_table(report);
  return 0;
}

}  // namespace tiller
