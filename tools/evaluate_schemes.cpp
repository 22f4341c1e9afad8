#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <iostream>
#include <set>

#include "io/hash.h"
#include "models/device.h"
#include "tools/evaluate.h"
#include "tools/image_checks.h"
#include "tools/inputs.h"
#include "tools/notes.h"
#include "tools/outputs.h"
#include "tools/scheme_making.h"
#include "tools/scheme_measuring.h"

namespace tiller {
namespace {

constexpr int64_t usual_samples = 1000, usual_pictures = 16;

GenerateRequest request_for(const Flags& flags, const std::vector<Scheme>& schemes) {
  GenerateRequest request;
  apply_flags(flags, request);
  request.device = device_of_process(request.device, launch_from_environment());
  request.count = flags.integer("samples", 2, RequestLimits::images, usual_samples);
  for (const auto& scheme : schemes) request.compare.push_back(scheme.guidance);
  return request;
}

SchemeResult measured(SchemeRun& run, ReadyScheme& scheme, SchemeMaking& making,
                      Baseline& baseline) {
  SchemeResult result{.scheme = scheme.scheme, .count = run.count()};
  for (const auto& guidance : scheme.guidances)
    result.sites.insert(result.sites.end(), guidance.sites.begin(), guidance.sites.end());
  making.make_missing(scheme);
  run.collection->bring(scheme.files.shards, run.batch(), run.count(), run.by.networks.size());
  run.processes->done(scheme.files.shards.folder().filename());
  if (!run.processes->first()) return result;
  run.processes->wait_for_all(scheme.files.shards.folder().filename());
  or_scheme_failure([&] { measure(run, scheme, baseline, result); });
  if (run.pictures) result.pictures = scheme.files.pictures;
  if (!scheme.files.images.empty())
    result.images = scheme.files.images.lexically_relative(run.report.folder);
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
          {"cache", run.cache.empty() ? "none" : run.cache},
          {"parallel", run.parallel.empty() ? "none" : run.parallel},
          {"size", to_text(request.size)},
          {"batch", request.batch},
          {"device", generation.device.str()},
          {"dtype", request.dtype + (request.fp8 ? ", attention and feed-forward in fp8" : "")},
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

/// Those that name what is usual mean the same as those that don't.
void require_distinct(const SchemeRun& run) {
  std::set<fs::path> folders;
  for (const auto& scheme : run.schemes)
    if (!folders.insert(files_of(run, scheme).shards.folder()).second)
      throw UsageError("--scheme: got " + scheme.name() +
                       " and the same by other words, expected each once.");
}

SchemeRun begin(const Flags& flags, Processes& processes) {
  SchemeRun run;
  run.processes = &processes;
  run.schemes = choose_schemes(flags);
  run.report.planned = run.schemes.size();
  run.report.folder = report_folder(flags);
  run.metrics = choose_metrics(flags.all("metrics"));
  run.named = flags.has("metrics");
  if (flags.has("keep-images")) run.images = run.report.folder / "images";
  run.parallel = flags.text("parallel", "");
  run.generation = prepare(request_for(flags, run.schemes),
                           [&](int64_t steps) { return widest_window(run, steps); });
  require_latents_alone(run.generation.model);
  if (processes.first()) note_unread_flags(flags, run.generation.model);
  if (processes.first() && !flags.has("reference") && !flags.has("quiet"))
    std::cerr << "Without --reference there will be no distances.\n";
  run.sampler = run.generation.request.sampler;
  run.steps = run.generation.request.steps;
  run.cache = run.generation.request.cache;
  run.pictures = std::min(flags.integer("pictures", 0, 10'000, usual_pictures), run.count());
  for (const auto& scheme : run.schemes) use_scheme(run, scheme);
  run.by = feature_networks(flags, run.metrics, run.generation.device);
  if (run.named) require_possible(run.metrics, run.by.networks);
  for (auto& keep : run.by.keep) keep.features = true;
  load_clip(run, flags);
  require_distinct(run);
  if (run.named && !flags.has("reference")) require_possible(run.metrics, run.by.networks, {});
  run.collection = std::make_unique<ShardCollection>(processes, run.report.folder);
  const Json reference = load_references(run, flags);
  run.report.protocol = protocol_of(run, reference);
  add_note(run.report, size_note(run.count()));
  for (const auto& note : reference_notes(reference)) add_note(run.report, note);
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
  SchemeMaking making(run);
  for (const auto& each : run.schemes) {
    ReadyScheme scheme{each, use_scheme(run, each), files_of(run, each)};
    try {
      run.report.schemes.push_back(measured(run, scheme, making, baseline));
    } catch (const SchemeFailure& failure) {
      if (processes.launch().world > 1) throw Error(each.name() + ": " + failure.reason);
      run.report.schemes.push_back({.scheme = each, .failure = failure.reason});
    }
    if (processes.first()) write_report(run.report);
  }
  making.finish();
  if (processes.first() && !tell_json(flags, report_json(run.report)))
    std::cout << report_table(run.report);
  if (processes.first()) tell_page(flags, run.report.folder);
  require_success(run.report);
  return 0;
}

}  // namespace tiller
