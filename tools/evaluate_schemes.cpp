#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <chrono>
#include <cmath>
#include <iostream>

#include "io/error.h"
#include "io/grid.h"
#include "io/hash.h"
#include "io/image.h"
#include "io/processes.h"
#include "metrics/clip_similarity.h"
#include "models/device.h"
#include "tools/evaluate.h"
#include "tools/evaluation_run.h"
#include "tools/image_references.h"
#include "tools/inputs.h"
#include "tools/memory_use.h"
#include "tools/program.h"
#include "tools/scheme_report.h"
#include "tools/scheme_shards.h"

namespace tiller {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t usual_samples = 1000, usual_pictures = 16;

/// A run over all schemes.
struct SchemeRun {
  Generation generation;
  std::vector<Scheme> schemes;
  std::string sampler;  ///< The run's.
  int64_t steps = 0;
  FeatureNetworks by;
  std::vector<const SetMetric*> metrics;
  bool named = false;
  std::vector<Reference> references;  ///< One a network.
  std::optional<ClipSimilarity> clip;
  std::string clip_hash;
  int64_t pictures = 0;
  fs::path images;  ///< Where images are kept; empty: nowhere.
  SchemeReport report;
  Processes* processes = nullptr;

  /// Whether this process makes the batch; those that are shown are the first one's.
  bool makes(int64_t first) const {
    const Launch& launch = processes->launch();
    return (first < pictures ? 0 : first / batch() % launch.world) == launch.rank;
  }
  int64_t count() const { return std::ssize(generation.images); }
  int64_t batch() const { return generation.request.batch; }
};

/// Why a scheme can't be measured, where others may be. A full disk is none: it ends the run.
struct SchemeFailure {
  std::string reason;
};

template <class Act>
auto or_scheme_failure(Act act) {
  try {
    return act();
  } catch (const UsageError&) {
    throw;
  } catch (const Error& error) {
    throw SchemeFailure{error.what()};
  }
}

/// Where what a scheme made lies.
struct SchemeFiles {
  SchemeShards shards;
  fs::path pictures;  ///< A strip of its first images, below the report's folder.
  fs::path images;    ///< Where its images are kept; empty: nowhere.
};

/// A scheme made ready.
struct ReadyScheme {
  Scheme scheme;
  std::vector<ChosenGuidance> guidances;
  SchemeFiles files;
};

GenerateRequest request_for(const Flags& flags, const std::vector<Scheme>& schemes) {
  GenerateRequest request;
  apply_flags(flags, request);
  if (const Launch launch = launch_from_environment();
      launch.world > 1 && (request.device == "auto" || request.device == "cuda"))
    request.device = cuda_available() ? "cuda:" + std::to_string(launch.local_rank) : "cpu";
  request.count = flags.integer("samples", 2, RequestLimits::images, usual_samples);
  for (const auto& scheme : schemes) request.compare.push_back(scheme.guidance);
  return request;
}

/// The generation as the scheme wants it, and its guidances. Throws UsageError where they don't go
/// together or with the model.
std::vector<ChosenGuidance> use_scheme(SchemeRun& run, const Scheme& scheme) {
  Generation& generation = run.generation;
  generation.request.steps = scheme.steps ? scheme.steps : run.steps;
  use_sampler(generation, scheme.sampler.empty() ? run.sampler : scheme.sampler);
  auto guidances = choose_guidances({scheme.guidance}, generation.model);
  require_renoising(*generation.sampler, guidances);
  return guidances;
}

/// What a batch's features depend on.
Json scheme_recipe(const SchemeRun& run, const Scheme& scheme) {
  const Generation& generation = run.generation;
  Json recipe = to_json(generation.request);
  for (const char* key : {"model", "compare", "count", "guidance", "sampler", "steps"})
    recipe.erase(key);
  if (generation.device.is_cuda()) recipe["device"] = "cuda";  // whichever this process has
  recipe["tiller"] = version();
  recipe["model_hash"] = generation.model.hash.get();
  recipe["inputs"] = generation.inputs;
  recipe["threads"] = at::get_num_threads();
  recipe["clip"] = run.clip_hash;
  recipe["scheme"] = {scheme.guidance, scheme.sampler.empty() ? run.sampler : scheme.sampler,
                      scheme.steps ? scheme.steps : run.steps};
  for (const auto& network : run.by.networks)
    recipe["networks"].push_back({network.hash, network.input, network.width});
  return recipe;
}

std::string key_of(const SchemeRun& run, const Scheme& scheme) {
  const Json recipe = scheme_recipe(run, scheme);
  return sha256_of(recipe.dump(-1, ' ', true, Json::error_handler_t::replace)).substr(0, 16);
}

SchemeFiles files_of(const SchemeRun& run, const Scheme& scheme) {
  const std::string key = key_of(run, scheme);
  return {.shards = SchemeShards(run.report.folder / "features", key),
          .pictures = fs::path("pictures") / (key + "-" + std::to_string(run.pictures) + ".png"),
          .images = run.images.empty() ? fs::path() : run.images / key};
}

std::span<const ImageSpec> specs_of(const SchemeRun& run, int64_t first) {
  const auto& images = run.generation.images;
  const auto count = std::min<size_t>(size_t(run.generation.request.batch), images.size() - first);
  return std::span(images).subspan(size_t(first), count);
}

fs::path image_file(const SchemeFiles& files, int64_t index) {
  char name[32];
  std::snprintf(name, sizeof name, "%06ld.png", long(index));
  return files.images / name;
}

/// (B): how well each image fits its prompt, 100 cos (arXiv 2104.08718; torchmetrics' scale).
Tensor clip_scores(const ClipSimilarity& clip, const Tensor& pixels,
                   std::span<const ImageSpec> specs) {
  std::vector<double> scores;
  for (int64_t row = 0; row < pixels.size(0); ++row)
    scores.push_back(clip(pixels[row], specs[size_t(row)].prompt));
  return at::tensor(scores, at::kDouble);
}

void keep_images(const SchemeFiles& files, int64_t first, const Tensor& pixels) {
  if (files.images.empty()) return;
  for (int64_t row = 0; row < pixels.size(0); ++row)
    write_png(image_file(files, first + row), pixels[row]);
}

bool keeps_images(const SchemeFiles& files, int64_t first, int64_t count) {
  for (int64_t index = first; index < first + count && !files.images.empty(); ++index)
    if (!fs::exists(image_file(files, index))) return false;
  return true;
}

/// Makes the batch's images, (B, 3, H, W), and sees them through every network.
SchemeBatch make_batch(const SchemeRun& run, ReadyScheme& scheme, int64_t first, Tensor& pixels) {
  const auto specs = specs_of(run, first);
  SchemeBatch batch{.first = first, .count = std::ssize(specs)};
  Progress silent = Progress::silent();
  reset_peak_memory();
  const auto start = Clock::now();
  const GuidanceCost cost =
      run_images(run.generation, scheme.guidances, specs, std::ssize(specs), silent,
                 [&](size_t, const DoneImages& done) { pixels = done.pixels; });
  batch.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  batch.peak_memory = double(peak_memory());
  batch.evaluations = double(cost.branches);
  batch.flops = cost.flops.spent;
  for (const auto& network : run.by.networks) batch.features.push_back(network.run(pixels));
  if (run.clip) batch.clip = clip_scores(*run.clip, pixels, specs);
  return batch;
}

bool has_pictures(const SchemeRun& run, const SchemeFiles& files) {
  return run.pictures == 0 || fs::exists(run.report.folder / files.pictures);
}

void write_pictures(const SchemeRun& run, const SchemeFiles& files,
                    const std::vector<Tensor>& shown) {
  if (shown.empty()) return;
  const Tensor images = at::cat(shown);
  const int64_t columns = std::min<int64_t>(8, images.size(0));
  write_png(run.report.folder / files.pictures, image_grid(images, columns));
}

bool is_missing(const SchemeRun& run, const SchemeFiles& files, int64_t first, bool pictured) {
  const int64_t count = std::ssize(specs_of(run, first));
  return (!pictured && first < run.pictures) || !keeps_images(files, first, count) ||
         !files.shards.has(first, count, run.by.networks.size());
}

/// Batches that aren't there yet, and those with pictures where these are missing.
void make_missing(const SchemeRun& run, ReadyScheme& scheme, Progress& progress) {
  std::vector<Tensor> shown;
  const SchemeFiles& files = scheme.files;
  const bool pictured = has_pictures(run, files);
  for (int64_t first = 0; first < run.count(); first += run.batch()) {
    if (!run.makes(first) || !is_missing(run, files, first, pictured)) continue;
    Tensor pixels;
    const SchemeBatch batch =
        or_scheme_failure([&] { return make_batch(run, scheme, first, pixels); });
    keep_images(files, first, pixels);
    if (first < run.pictures)
      shown.push_back(pixels.narrow(0, 0, std::min(run.pictures - first, pixels.size(0))));
    files.shards.save(batch);
    progress.advance(std::ssize(specs_of(run, first)), scheme.scheme.name());
  }
  if (!pictured) write_pictures(run, files, shown);
}

/// A bar over this process's images of all schemes, those of earlier runs done.
Progress progress_of(const SchemeRun& run) {
  int64_t all = 0, made = 0;
  for (const auto& each : run.schemes) {
    const SchemeFiles files = files_of(run, each);
    const bool pictured = has_pictures(run, files);
    for (int64_t first = 0; first < run.count(); first += run.batch()) {
      if (!run.makes(first)) continue;
      all += std::ssize(specs_of(run, first));
      if (!is_missing(run, files, first, pictured)) made += std::ssize(specs_of(run, first));
    }
  }
  return Progress("images", all, "images", made);
}

/// All that a scheme's batches hold, as if they had come at once.
struct Gathered {
  std::vector<FeatureSet> features;  ///< One a network.
  Tensor clip;                       ///< (N); undefined: not asked for.
  SchemeCost cost;
};

Gathered gathered(const SchemeRun& run, const ReadyScheme& scheme) {
  const int64_t count = run.count();
  Gathered all;
  auto collectors = run.by.collectors(count);
  std::vector<Tensor> clip;
  for (int64_t first = 0; first < count; first += run.batch()) {
    const SchemeBatch batch = scheme.files.shards.load(first, run.by.networks.size());
    for (size_t i = 0; i < collectors.size(); ++i) collectors[i].add(batch.features[i]);
    all.cost.evaluations += batch.evaluations * double(batch.count) / double(count);
    all.cost.flops += batch.flops / double(count);
    all.cost.seconds += batch.seconds / double(count);
    all.cost.peak_memory = std::max(all.cost.peak_memory, batch.peak_memory);
    if (run.clip) clip.push_back(batch.clip);
  }
  for (auto& collector : collectors) all.features.push_back(collector.finish());
  if (run.clip) all.clip = at::cat(clip);
  return all;
}

/// The mean score with its interval over images.
Figure clip_figure(const Tensor& scores) {
  const Tensor x = scores.to(at::kDouble);
  return {.key = "clip_score",
          .title = "CLIP score",
          .value = x.mean().item<double>(),
          .margin = 1.96 * x.std().item<double>() / std::sqrt(double(x.numel()))};
}

/// What each image is to show; empty: the model has no names for it.
std::vector<std::string> classes_of(const SchemeRun& run) {
  const auto& names = run.generation.model.class_names;
  std::vector<std::string> classes;
  for (const auto& image : run.generation.images)
    if (image.label >= 0 && image.label < std::ssize(names)) classes.push_back(names[image.label]);
  return classes;
}

/// The first scheme's distances, one a network, which the others are compared with.
using Baseline = std::vector<std::optional<FrechetEstimate>>;

/// The distance less the baseline's, of the same seeds. Fills a baseline that has no such network.
void add_difference(const Comparison& by, size_t network, Baseline& baseline,
                    SchemeResult& result) {
  if (baseline.size() <= network) {
    baseline.push_back(by.frechet);
    return;
  }
  const auto& other = baseline[network];
  if (!other || !by.frechet) return;
  Figure difference = frechet_figure(by.network, by.frechet->value - other->value);
  difference.margin = paired_margin(*by.frechet, *other);
  result.differences.push_back(std::move(difference));
}

void add_note(SchemeReport& report, const std::string& note) {
  if (note.empty() ||
      std::find(report.notes.begin(), report.notes.end(), note) != report.notes.end())
    return;
  report.notes.push_back(note);
}

/// The figures of a scheme's images by one network.
void measure_by(SchemeRun& run, size_t network, const FeatureSet& set, Baseline& baseline,
                SchemeResult& result) {
  Reference* reference = run.references.empty() ? nullptr : &run.references[network];
  const Comparison comparison{run.by.networks[network], set, reference};
  std::vector<std::string> notes;
  Progress silent = Progress::silent();
  for (auto& figure : compare(run.metrics, comparison, run.named, notes, silent))
    result.figures.push_back(std::move(figure));
  for (const auto& note : notes) add_note(run.report, note);
  if (const auto figure = class_accuracy(comparison.network, set, classes_of(run)))
    result.figures.push_back(*figure);
  if (reference) add_difference(comparison, network, baseline, result);
}

/// All figures of a scheme whose batches are there.
void measure(SchemeRun& run, const ReadyScheme& scheme, Baseline& baseline, SchemeResult& result) {
  const Gathered all = gathered(run, scheme);
  result.cost = all.cost;
  for (size_t i = 0; i < all.features.size(); ++i)
    measure_by(run, i, all.features[i], baseline, result);
  if (all.clip.defined()) result.figures.push_back(clip_figure(all.clip));
}

SchemeResult measured(SchemeRun& run, ReadyScheme& scheme, Progress& progress, Baseline& baseline) {
  SchemeResult result{.scheme = scheme.scheme, .count = run.count()};
  for (const auto& guidance : scheme.guidances)
    result.sites.insert(result.sites.end(), guidance.sites.begin(), guidance.sites.end());
  make_missing(run, scheme, progress);
  run.processes->done(scheme.files.shards.folder().filename());
  if (!run.processes->first()) return result;
  run.processes->wait_for_all(scheme.files.shards.folder().filename());
  or_scheme_failure([&] { measure(run, scheme, baseline, result); });
  if (run.pictures) result.pictures = scheme.files.pictures;
  return result;
}

/// All of a few prompts; of many their number, the first and a hash.
Json captions_of(const std::vector<std::string>& prompts) {
  constexpr size_t few = 16;
  if (prompts.size() <= few) return prompts;
  std::string all;
  for (const auto& prompt : prompts) all += prompt + "\n";
  return {{"count", prompts.size()},
          {"first", prompts.front()},
          {"hash", sha256_of(all).substr(0, 16)}};
}

Json protocol_of(const SchemeRun& run, const Json& reference) {
  const Generation& generation = run.generation;
  const GenerateRequest& request = generation.request;
  std::vector<std::string> classes;
  for (const auto& name : request.classes)
    classes.push_back(class_label(generation.model, class_index(generation.model, name)));
  return {{"tiller", version()},
          {"model", generation.model.file},
          {"model hash", generation.model.hash.get()},
          {"samples", generation.images.size()},
          {"seeds", std::to_string(request.seed) + " to " +
                        std::to_string(request.seed + generation.images.size() - 1)},
          {"classes", classes},
          {"prompts", captions_of(request.text.prompts)},
          {"negative prompt", request.text.negative},
          {"sampler", run.sampler},
          {"steps", run.steps},
          {"size", to_text(request.size)},
          {"batch", request.batch},
          {"device", generation.device.str()},
          {"dtype", request.dtype},
          {"threads", at::get_num_threads()},
          {"clip", run.clip_hash},
          {"features", networks_json(run.by.networks)},
          {"reference", reference}};
}

/// What the networks see of the reference; the first process alone compares with it.
Json load_references(SchemeRun& run, const Flags& flags) {
  if (!flags.has("reference") || !run.processes->first()) return nullptr;
  ReferenceSet set =
      remembered_reference(flags.text("reference"), run.by, run.report.folder / "reference");
  if (run.named) require_possible(run.metrics, run.by.networks, set.features);
  for (auto& features : set.features) run.references.emplace_back(std::move(features));
  return set.description;
}

void load_clip(SchemeRun& run, const Flags& flags) {
  if (!flags.has("clip")) return;
  if (!run.generation.model.text)
    throw UsageError("--clip: got it for a model that reads no text, expected none.");
  run.clip.emplace(flags.text("clip"), run.generation.device);
  run.clip_hash = input_hash(flags.text("clip"));
}

SchemeRun begin(const Flags& flags, Processes& processes) {
  SchemeRun run;
  run.processes = &processes;
  run.schemes = choose_schemes(flags);
  run.report.folder = required(flags, "output", "a folder for the report");
  run.metrics = choose_metrics(flags.all("metrics"));
  run.named = flags.has("metrics");
  if (flags.has("keep-images")) run.images = run.report.folder / "images";
  run.generation = prepare(request_for(flags, run.schemes));
  run.sampler = run.generation.request.sampler;
  run.steps = run.generation.request.steps;
  run.pictures = std::min(flags.integer("pictures", 0, 10'000, usual_pictures), run.count());
  for (const auto& scheme : run.schemes) use_scheme(run, scheme);
  run.by = feature_networks(flags, run.metrics, run.generation.device);
  for (auto& keep : run.by.keep) keep.features = true;
  load_clip(run, flags);
  if (run.named && !flags.has("reference")) require_possible(run.metrics, run.by.networks, {});
  const Json reference = load_references(run, flags);
  run.report.protocol = protocol_of(run, reference);
  add_note(run.report, size_note(run.count()));
  add_note(run.report, reference_note(reference));
  return run;
}

/// Throws Error naming the first scheme that failed.
void require_success(const SchemeReport& report) {
  for (const auto& scheme : report.schemes)
    if (!scheme.failure.empty())
      throw Error("--scheme " + scheme.scheme.name() + ": " + scheme.failure);
}

}  // namespace

int evaluate_schemes(const Flags& flags) {
  const c10::NoGradGuard no_grad;
  Processes processes(launch_from_environment());
  if (!processes.first()) Progress::set_quiet(true);
  SchemeRun run = begin(flags, processes);
  Baseline baseline;
  Progress progress = progress_of(run);
  for (const auto& each : run.schemes) {
    ReadyScheme scheme{each, use_scheme(run, each), files_of(run, each)};
    try {
      run.report.schemes.push_back(measured(run, scheme, progress, baseline));
    } catch (const SchemeFailure& failure) {
      if (processes.launch().world > 1) throw Error(each.name() + ": " + failure.reason);
      run.report.schemes.push_back({.scheme = each, .failure = failure.reason});
    }
    if (processes.first()) write_report(run.report);
  }
  progress.finish();
  if (processes.first() && !tell_json(flags, report_json(run.report)))
    std::cout << report_table(run.report);
  require_success(run.report);
  return 0;
}

}  // namespace tiller
