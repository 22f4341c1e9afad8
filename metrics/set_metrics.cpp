#include "metrics/set_metrics.h"

#include <algorithm>

#include "io/error.h"
#include "metrics/inception_score.h"
#include "metrics/kid.h"
#include "metrics/mmd.h"
#include "metrics/vendi.h"

namespace tiller {
namespace {

/// What follows a key and a title: "_r56" and "-R56"; nothing for FID's own network.
struct Labels {
  std::string key, title;
};

Labels labels_of(const FeatureNetwork& network) {
  if (network.distance == "FID") return {};
  const std::string tag = network.distance.substr(network.distance.find('-') + 1);
  std::string key = "_";
  for (const auto c : tag) {
    const auto byte = static_cast<unsigned char>(c);
    key += std::isalnum(byte) ? char(std::tolower(byte)) : '_';
  }
  return {key, "-" + tag};
}

Figure labelled(const FeatureNetwork& network, const std::string& own, const std::string& own_title,
                const std::string& other, const std::string& other_title, double value) {
  const Labels labels = labels_of(network);
  const bool fid = labels.key.empty();
  return {.key = (fid ? own : other) + labels.key,
          .title = (fid ? own_title : other_title) + labels.title,
          .value = value};
}

Figure figure(const Comparison& by, const std::string& key, const std::string& title,
              double value) {
  return labelled(by.network, key, title, key, title, value);
}

Figure lower(Figure figure) {
  figure.lower_is_better = true;
  return figure;
}

std::vector<Figure> frechet(const Comparison& by) {
  const FrechetReference& reference = by.reference->frechet();
  const FeatureSet& set = by.generated;
  Figure f = frechet_figure(by.network, reference.distance(*set.moments));
  if (set.features.defined() && set.count >= frechet_interval_images(by.network.width)) {
    by.frechet = frechet_interval(set.features, reference);
    f.margin = by.frechet->margin;
  }
  return {f};
}

std::vector<Figure> infinite(const Comparison& by) {
  const double value = frechet_infinity(by.generated.features, by.reference->frechet()).value;
  return {lower(
      labelled(by.network, "fid_infinity", "FID-infinity", "fd_infinity", "FD-infinity", value))};
}

std::vector<Figure> spatial(const Comparison& by) {
  return {
      lower(figure(by, "sfid", "sFID", by.reference->spatial().distance(*by.generated.spatial)))};
}

std::vector<Figure> kernel(const Comparison& by) {
  const auto kid = kernel_distance(by.generated.features, by.reference->set().features);
  return {lower(labelled(by.network, "kid_mean", "KID", "kd_mean", "KD", kid.mean)),
          lower(labelled(by.network, "kid_std", "KID std", "kd_std", "KD std", kid.std))};
}

std::vector<Figure> score(const Comparison& by) {
  const auto is = inception_score(by.generated.logits);
  return {figure(by, "isc_mean", "IS", is.mean), figure(by, "isc_std", "IS std", is.std)};
}

const std::vector<NeighbourScores>& scores_of(const Comparison& by) {
  if (by.neighbours.empty())
    by.neighbours = neighbour_scores(nearest_neighbours(by.generated.features),
                                     by.reference->neighbours(), {improved_rule, prdc_rule});
  return by.neighbours;
}

std::vector<Figure> precision_recall(const Comparison& by) {
  const auto& scores = scores_of(by)[0];
  return {figure(by, "precision", "precision", scores.precision),
          figure(by, "recall", "recall", scores.recall)};
}

std::vector<Figure> density_coverage(const Comparison& by) {
  const auto& scores = scores_of(by)[1];
  return {figure(by, "density", "density", scores.density),
          figure(by, "coverage", "coverage", scores.coverage)};
}

std::vector<Figure> clip_mmd_figure(const Comparison& by) {
  return {lower(
      figure(by, "cmmd", "CMMD", clip_mmd(by.generated.features, by.reference->set().features)))};
}

std::vector<Figure> diversity(const Comparison& by) {
  return {figure(by, "vendi", "Vendi", vendi_score(by.generated.features))};
}

}  // namespace

Figure frechet_figure(const FeatureNetwork& network, double value) {
  return lower(labelled(network, "fid", "FID", "fd", "FD", value));
}

const std::vector<SetMetric>& set_metrics() {
  static const std::vector<SetMetric> all = {
      {"fid",
       "Fréchet distance: FID of Inception's features, FD of others",
       "1706.08500",
       {},
       true,
       frechet},
      {"kid",
       "kernel distance, 100 subsets of 1,000",
       "1801.01401",
       {.reference_images = true, .features = true},
       true,
       kernel},
      {"is",
       "Inception Score, 10 splits",
       "1606.03498",
       {.reference = false, .logits = true, .images = 10},
       true,
       score},
      {"pr",
       "improved precision and recall, third neighbours",
       "1904.06991",
       {.reference_images = true, .features = true, .images = 6},
       true,
       precision_recall},
      {"prdc",
       "density and coverage, fifth neighbours",
       "2002.09797",
       {.reference_images = true, .features = true, .images = 6},
       true,
       density_coverage},
      {"sfid",
       "Fréchet distance of Inception's spatial features",
       "2103.03841",
       {.spatial = true},
       false,
       spatial},
      {"fid-infinity",
       "the Fréchet distance that infinitely many images would have",
       "1911.07023",
       {.features = true, .images = 20},
       false,
       infinite},
      {"cmmd",
       "maximum mean discrepancy; meant for CLIP's embeddings",
       "2401.09603",
       {.reference_images = true, .features = true},
       false,
       clip_mmd_figure},
      {"vendi",
       "Vendi score: as how many different images they count",
       "2210.02410",
       {.reference = false, .features = true},
       false,
       diversity}};
  return all;
}

std::vector<const SetMetric*> choose_metrics(const std::vector<std::string>& texts) {
  std::vector<const SetMetric*> chosen;
  std::vector<std::string> names;
  for (const auto& metric : set_metrics()) {
    names.push_back(metric.name);
    if (texts.empty() && metric.by_default) chosen.push_back(&metric);
  }
  for (const auto& text : texts)
    for (size_t begin = 0, end; begin <= text.size(); begin = end + 1) {
      end = std::min(text.find(',', begin), text.size());
      const std::string name = text.substr(begin, end - begin);
      const auto found = std::find(names.begin(), names.end(), name);
      if (found == names.end())
        throw UsageError("--metrics: got '" + printable(name) + "', expected some of " +
                         enumerate(names) + "." + suggestion(name, names));
      const auto* metric = &set_metrics()[found - names.begin()];
      if (std::find(chosen.begin(), chosen.end(), metric) == chosen.end()) chosen.push_back(metric);
    }
  return chosen;
}

std::string obstacle(const SetMetric& metric, const FeatureNetwork& network) {
  if (metric.needs.logits && !network.classes) return network.name + " gives no logits";
  if (metric.needs.spatial && !network.spatial) return network.name + " gives no spatial features";
  return "";
}

std::string obstacle(const SetMetric& metric, const FeatureNetwork& network,
                     const FeatureSet* reference) {
  const MetricNeeds& needs = metric.needs;
  if (const auto reason = obstacle(metric, network); !reason.empty()) return reason;
  if (!needs.reference) return "";
  if (!reference) return "there is no --reference";
  if (needs.reference_images && !reference->features.defined())
    return "the reference is statistics, and this needs its images";
  if (needs.spatial && !reference->spatial) return "the reference has no spatial statistics";
  if (!needs.spatial && !reference->moments) return "the reference has no statistics";
  return "";
}

Keep kept_for(const std::vector<const SetMetric*>& metrics, const FeatureNetwork& network) {
  Keep keep;
  for (const auto* metric : metrics) {
    keep.features |= metric->needs.features;
    keep.logits |= metric->needs.logits && network.classes;
    keep.spatial |= metric->needs.spatial && network.spatial;
  }
  return keep;
}

}  // namespace tiller
