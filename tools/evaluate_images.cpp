#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <iostream>

#include "io/error.h"
#include "io/progress.h"
#include "metrics/reference_statistics.h"
#include "tools/chosen_device.h"
#include "tools/comparison.h"
#include "tools/evaluate.h"
#include "tools/evaluation_run.h"
#include "tools/feature_extraction.h"
#include "tools/image_references.h"
#include "tools/program.h"
#include "tools/table.h"

namespace tiller {
namespace {

/// What `evaluate --images` is asked for.
struct ComparisonRequest {
  fs::path images, reference, statistics;
  std::vector<const SetMetric*> metrics;
  bool named = false;  ///< The metrics were.
  bool strict = false;
  int64_t count = 0;
  size_t batch = 32;
};

ComparisonRequest comparison_from(const Flags& flags) {
  ComparisonRequest request;
  request.images = flags.text("images");
  request.reference = flags.text("reference");
  request.statistics = flags.text("save-statistics");
  if (!request.statistics.empty() && request.statistics.extension() != ".npz")
    throw UsageError("--save-statistics: got '" + request.statistics.string() +
                     "', expected a name that ends in .npz.");
  request.named = flags.has("metrics");
  request.metrics = choose_metrics(flags.all("metrics"));
  request.strict = flags.has("strict");
  request.count = flags.integer("count", 2, INT32_MAX, 0);
  request.batch = size_t(flags.integer("batch", 1, 4096, 32));
  return request;
}

void require_enough(const ComparisonRequest& request, const ExtractedSet& set) {
  const int64_t count = set.features.front().count;
  if (count >= 2) return;
  const std::string skipped = set.skipped.empty()
                                  ? ""
                                  : "; " + std::to_string(set.skipped.size()) +
                                        " left out, the first: " + set.skipped.front();
  throw Error(request.images.string() + ": got " + std::to_string(count) +
              " images that can be used, expected at least 2" + skipped +
              (skipped.ends_with('.') ? "" : "."));
}

void show(const std::vector<Figure>& figures) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& figure : figures) rows.push_back({figure.title, shown(figure)});
  std::cout << table(rows);
}

std::vector<std::string> notes_on(const ExtractedSet& set, const ReferenceSet& reference) {
  std::vector<std::string> notes;
  if (const auto note = size_note(set.features.front().count); !note.empty()) notes.push_back(note);
  if (!set.skipped.empty())
    notes.push_back(std::to_string(set.skipped.size()) +
                    " images are left out, the first: " + set.skipped.front());
  for (const auto& note : reference_notes(reference.description)) notes.push_back(note);
  return notes;
}

/// All networks' figures, with notes on what is left out.
std::vector<Figure> compare_all(const ComparisonRequest& request, const FeatureNetworks& by,
                                const ExtractedSet& set, const ReferenceSet& reference,
                                std::vector<std::string>& notes) {
  std::vector<Figure> figures;
  Progress progress("metrics", std::ssize(by.networks) * std::ssize(request.metrics), "metrics");
  for (size_t i = 0; i < by.networks.size(); ++i) {
    std::optional<Reference> other;
    if (!reference.features.empty()) other.emplace(reference.features[i]);
    const Comparison comparison{by.networks[i], set.features[i], other ? &*other : nullptr};
    for (auto& figure : compare(request.metrics, comparison, request.named, notes, progress))
      figures.push_back(std::move(figure));
    if (const auto figure = class_accuracy(by.networks[i], set.features[i], set.classes))
      figures.push_back(*figure);
  }
  return figures;
}

Json results_json(const ComparisonRequest& request, const FeatureNetworks& by,
                  const ExtractedSet& set, const ReferenceSet& reference) {
  Json json = {{"tiller", version()},
               {"images", request.images.string()},
               {"count", set.features.front().count},
               {"skipped", set.skipped.size()},
               {"features", networks_json(by.networks)}};
  if (!reference.features.empty()) json["reference"] = reference.description;
  return json;
}

}  // namespace

int evaluate_images(const Flags& flags) {
  const c10::NoGradGuard no_grad;
  const ComparisonRequest request = comparison_from(flags);
  if (const auto threads = flags.integer("threads", 1, RequestLimits::threads, 0))
    at::set_num_threads(int(threads));
  const FeatureNetworks by =
      feature_networks(flags, request.metrics, chosen_device(flags.text("device", "auto")));
  if (!request.statistics.empty() && by.networks.size() > 1)
    throw UsageError("--save-statistics: got " + std::to_string(by.networks.size()) +
                     " --features, expected one: statistics are of one network.");
  if (request.named) require_possible(request.metrics, by.networks);
  ImageSource images(request.images, request.count);
  ReferenceSet reference;
  if (!request.reference.empty())
    reference = load_reference(request.reference, by, request.batch, request.strict);
  if (request.named) require_possible(request.metrics, by.networks, reference.features);
  const ExtractedSet set = extract_features(by, images, request.batch, "features", request.strict);
  require_enough(request, set);
  if (!request.statistics.empty())
    save_reference_statistics(request.statistics, *set.features.front().moments);
  std::vector<std::string> notes = notes_on(set, reference);
  const std::vector<Figure> figures = compare_all(request, by, set, reference, notes);
  Json json = results_json(request, by, set, reference);
  json["notes"] = notes;
  json.update(figures_json(figures));
  if (!tell_json(flags, json)) show(figures);
  for (const auto& note : notes) std::cerr << "Note: " << note << "\n";
  return 0;
}

}  // namespace tiller
