#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <iostream>

#include "io/error.h"
#include "io/progress.h"
#include "metrics/reference_statistics.h"
#include "models/device.h"
#include "tools/evaluate.h"
#include "tools/evaluation_run.h"
#include "tools/feature_extraction.h"
#include "tools/image_references.h"
#include "tools/program.h"
#include "tools/table.h"

namespace tiller {
namespace {

constexpr int64_t few_images = 10'000;

/// What `evaluate --images` is asked for.
struct Request {
  fs::path images, reference, statistics;
  std::vector<const SetMetric*> metrics;
  bool named = false;  ///< The metrics were.
  bool strict = false;
  int64_t count = 0;
  size_t batch = 32;
};

Request request_from(const Flags& flags) {
  Request request;
  request.images = flags.text("images");
  request.reference = flags.text("reference");
  request.statistics = flags.text("save-statistics");
  request.named = flags.has("metrics");
  request.metrics = choose_metrics(flags.all("metrics"));
  request.strict = flags.has("strict");
  request.count = flags.integer("count", 2, INT32_MAX, 0);
  request.batch = size_t(flags.integer("batch", 1, 4096, 32));
  return request;
}

Json network_json(const FeatureNetwork& network) {
  return {{"name", network.name},
          {"weights", network.weights},
          {"hash", network.hash},
          {"input", network.input}};
}

void require_enough(const Request& request, const ExtractedSet& set) {
  const int64_t count = set.features.front().count;
  if (count >= 2) return;
  const std::string skipped =
      set.skipped.empty() ? "" : "; " + std::to_string(set.skipped.size()) + " left out, the first: " +
                                     set.skipped.front();
  throw Error(request.images.string() + ": got " + std::to_string(count) +
              " images that can be used, expected at least 2" + skipped + ".");
}

/// Metrics that a set of so few images can't have are left out with a note, or refused.
std::vector<Figure> compute(const Request& request, const FeatureNetwork& network,
                            const FeatureSet& set, Reference* reference,
                            std::vector<std::string>& notes) {
  std::vector<Figure> figures;
  const Comparison comparison{network, set, reference};
  Progress progress("metrics", std::ssize(request.metrics), "metrics");
  for (const auto* metric : request.metrics) {
    std::string reason = obstacle(*metric, network, reference ? &reference->set() : nullptr);
    if (reason.empty() && set.count < metric->needs.images)
      reason = "it needs " + std::to_string(metric->needs.images) + " images";
    if (reason.empty()) {
      for (auto& figure : metric->compute(comparison)) figures.push_back(std::move(figure));
    } else if (metric->needs.reference && !reference && !request.named) {
      // Nobody asked for it.
    } else {
      notes.push_back(metric->name + ": left out: " + reason + ".");
    }
    progress.advance();
  }
  return figures;
}

/// Named metrics must be possible, before any work, with one of the networks at least.
void check_metrics(const Request& request, const FeatureNetworks& by,
                   const std::vector<FeatureSet>& reference) {
  if (!request.named) return;
  for (const auto* metric : request.metrics) {
    std::string reason;
    for (size_t i = 0; i < by.networks.size(); ++i) {
      reason = obstacle(*metric, by.networks[i], reference.empty() ? nullptr : &reference[i]);
      if (reason.empty()) break;
    }
    if (!reason.empty())
      throw UsageError("--metrics " + metric->name + ": " + reason + ", expected it to be there.");
  }
}

void show(const std::vector<Figure>& figures) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& figure : figures) {
    char text[64];
    if (std::isnan(figure.margin))
      std::snprintf(text, sizeof text, "%.6g", figure.value);
    else
      std::snprintf(text, sizeof text, "%.6g +- %.2g", figure.value, figure.margin);
    rows.push_back({figure.title, text});
  }
  std::cout << table(rows);
}

Json figures_json(const std::vector<Figure>& figures) {
  Json json = Json::object();
  for (const auto& figure : figures) {
    json[figure.key] = figure.value;
    if (!std::isnan(figure.margin)) json[figure.key + "_margin"] = figure.margin;
  }
  return json;
}

void note_sizes(const ExtractedSet& set, std::vector<std::string>& notes) {
  const int64_t count = set.features.front().count;
  if (count < few_images)
    notes.push_back("of " + std::to_string(count) +
                    " images: distances are biased upwards below 10,000; compare with figures of "
                    "as many images alone.");
  if (!set.skipped.empty())
    notes.push_back(std::to_string(set.skipped.size()) +
                    " images left out, the first: " + set.skipped.front());
}

}  // namespace

int evaluate_images(const Flags& flags) {
  const c10::NoGradGuard no_grad;
  const Request request = request_from(flags);
  if (const auto threads = flags.integer("threads", 1, RequestLimits::threads, 0))
    at::set_num_threads(int(threads));
  FeatureNetworks by = feature_networks(flags, request.metrics);
  ImageSource images(request.images, request.count);
  const bool compares = !request.reference.empty();
  ReferenceSet reference;
  if (compares)
    reference = load_reference(request.reference, by, request.batch, request.strict);
  check_metrics(request, by, reference.features);
  const ExtractedSet set =
      extract_features(by, images, request.batch, "features", request.strict);
  require_enough(request, set);
  if (!request.statistics.empty())
    save_reference_statistics(request.statistics, *set.features.front().moments);
  std::vector<std::string> notes;
  note_sizes(set, notes);
  std::vector<Figure> figures;
  Json networks = Json::array();
  for (size_t i = 0; i < by.networks.size(); ++i) {
    std::optional<Reference> other;
    if (compares) other.emplace(reference.features[i]);
    for (auto& figure :
         compute(request, by.networks[i], set.features[i], other ? &*other : nullptr, notes))
      figures.push_back(std::move(figure));
    networks.push_back(network_json(by.networks[i]));
  }
  Json json = {{"tiller", version()},
               {"images", request.images.string()},
               {"count", set.features.front().count},
               {"skipped", set.skipped.size()},
               {"features", networks}};
  if (compares) json["reference"] = reference.description;
  json["notes"] = notes;
  json.update(figures_json(figures));
  if (!tell_json(flags, json)) show(figures);
  for (const auto& note : notes) std::cerr << "Note: " << note << "\n";
  return 0;
}

}  // namespace tiller
