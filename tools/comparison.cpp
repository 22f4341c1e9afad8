#include "tools/comparison.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "io/error.h"

namespace tiller {
namespace {

std::string obstacle_for(const SetMetric& metric, const Comparison& by) {
  const std::string reason =
      obstacle(metric, by.network, by.reference ? &by.reference->set() : nullptr);
  if (!reason.empty()) return reason;
  const int64_t most_of_reference = metric.needs.reference_images && by.reference
                                        ? by.reference->set().count
                                        : by.generated.count;
  const int64_t least = std::min(by.generated.count, most_of_reference);
  if (least >= metric.needs.images) return "";
  return (least < by.generated.count ? "of the reference it needs " : "it needs ") +
         std::to_string(metric.needs.images) + " images";
}

/// In the order of the classifiers' logits.
const std::vector<std::string>& cifar_classes() {
  static const std::vector<std::string> all = {"airplane", "automobile", "bird",  "cat",  "deer",
                                               "dog",      "frog",       "horse", "ship", "truck"};
  return all;
}

}  // namespace

std::vector<Figure> compare(const std::vector<const SetMetric*>& metrics, const Comparison& by,
                            bool named, std::vector<std::string>& notes, Progress& progress) {
  std::vector<Figure> figures;
  for (const auto* metric : metrics) {
    progress.advance(1, metric->name);
    const std::string reason = obstacle_for(*metric, by);
    if (reason.empty()) {
      for (auto& figure : metric->compute(by)) figures.push_back(std::move(figure));
    } else if (named || by.reference || !metric->needs.reference) {
      notes.push_back(metric->name + " by " + by.network.name + " is left out: " + reason + ".");
    }
  }
  return figures;
}

std::optional<Figure> class_accuracy(const FeatureNetwork& network, const FeatureSet& set,
                                     const std::vector<std::string>& classes) {
  if (!network.cifar_classes || !set.logits.defined() || std::ssize(classes) != set.count)
    return {};
  std::vector<int64_t> wanted;
  for (const auto& name : classes) {
    const auto found = std::find(cifar_classes().begin(), cifar_classes().end(), name);
    if (found == cifar_classes().end()) return {};
    wanted.push_back(found - cifar_classes().begin());
  }
  const Tensor right = set.logits.argmax(1) == at::tensor(wanted, at::kLong);
  return Figure{.key = "accuracy",
                .title = "class accuracy",
                .value = right.to(at::kDouble).mean().item<double>()};
}

namespace {

/// reason: why not by the i-th network; "": it can be had.
void require_one_way(const SetMetric& metric, size_t networks,
                     const std::function<std::string(size_t)>& reason_by) {
  std::string reason;
  for (size_t i = 0; i < networks; ++i)
    if (reason = reason_by(i); reason.empty()) return;
  throw UsageError("--metrics: got " + metric.name + ", which can't be had: " + reason + ".");
}

}  // namespace

void require_possible(const std::vector<const SetMetric*>& metrics,
                      const std::vector<FeatureNetwork>& networks) {
  for (const auto* metric : metrics)
    require_one_way(*metric, networks.size(),
                    [&](size_t i) { return obstacle(*metric, networks[i]); });
}

void require_possible(const std::vector<const SetMetric*>& metrics,
                      const std::vector<FeatureNetwork>& networks,
                      const std::vector<FeatureSet>& reference) {
  for (const auto* metric : metrics)
    require_one_way(*metric, networks.size(), [&](size_t i) {
      return obstacle(*metric, networks[i], reference.empty() ? nullptr : &reference[i]);
    });
}

std::string size_note(int64_t images) {
  if (images >= enough_images) return "";
  return "Of " + std::to_string(images) +
         " images: distances are biased upwards below 10,000. Compare them with those of as many "
         "images alone.";
}

Json figures_json(const std::vector<Figure>& figures) {
  Json json = Json::object();
  for (const auto& figure : figures) {
    json[figure.key] = figure.value;
    if (!std::isnan(figure.margin)) json[figure.key + "_margin"] = figure.margin;
  }
  return json;
}

Json networks_json(const std::vector<FeatureNetwork>& networks) {
  Json json = Json::array();
  for (const auto& network : networks)
    json.push_back({{"name", network.name},
                    {"weights", network.weights},
                    {"hash", network.hash},
                    {"input", network.input}});
  return json;
}

std::string shown(const Figure& figure) {
  char text[64];
  if (std::isnan(figure.margin))
    std::snprintf(text, sizeof text, "%.6g", figure.value);
  else
    std::snprintf(text, sizeof text, "%.6g \u00b1 %.2g", figure.value, figure.margin);
  return text;
}

}  // namespace tiller
