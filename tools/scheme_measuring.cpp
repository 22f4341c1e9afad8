#include "tools/scheme_measuring.h"

#include <ATen/ATen.h>

#include <cmath>

namespace tiller {
namespace {

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
    all.cost.calls += batch.calls * double(batch.count) / double(count);
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

}  // namespace

void measure(SchemeRun& run, const ReadyScheme& scheme, Baseline& baseline, SchemeResult& result) {
  const Gathered all = gathered(run, scheme);
  result.cost = all.cost;
  for (size_t i = 0; i < all.features.size(); ++i)
    measure_by(run, i, all.features[i], baseline, result);
  if (all.clip.defined()) result.figures.push_back(clip_figure(all.clip));
}

}  // namespace tiller
