#pragma once
/// Figures that compare a set of images with a reference, through a network's features.
#include <algorithm>

#include "metrics/feature_set.h"

namespace tiller {

/// A figure of a set.
struct Figure {
  std::string key;    ///< "kid_mean"; of other networks than FID's with a suffix, "kd_mean_r56".
  std::string title;  ///< "KID".
  double value = 0;
  double margin = std::numeric_limits<double>::quiet_NaN();  ///< Half a 95% interval; NaN: none.
  bool lower_is_better = false;
};

/// A Fréchet distance by this network, labelled: "fid", or "fd_r56".
Figure frechet_figure(const FeatureNetwork&, double value);

/// What a metric works on.
struct Comparison {
  const FeatureNetwork& network;
  const FeatureSet& generated;
  Reference* reference;  ///< Null: none.
  /// By improved_rule and prdc_rule, from the first metric that asks; empty: none did.
  mutable std::vector<NeighbourScores> neighbours = {};
  /// Of the Fréchet distance, where its metric found enough images for an interval.
  mutable std::optional<FrechetEstimate> frechet = {};
};

/// Images from which on the interval of a Fréchet distance of `width` features means something: two
/// a feature, and two for each of the jackknife's 20 blocks.
constexpr int64_t frechet_interval_images(int64_t width) {
  return std::max<int64_t>(2 * width, 40);
}

/// What a metric reads of the network beside the moments.
struct MetricNeeds {
  bool reference = true;          ///< Statistics at least.
  bool reference_images = false;  ///< Not only their statistics.
  bool features = false, logits = false, spatial = false;
  int64_t images = 2;  ///< At least so many.
};

/// A metric as --metrics names it: one line each.
struct SetMetric {
  std::string name, description, paper;
  MetricNeeds needs;
  bool by_default;
  std::vector<Figure> (*compute)(const Comparison&);
};
const std::vector<SetMetric>& set_metrics();

/// By names, comma lists among them; none: those that are computed by default. Throws UsageError,
/// with a suggestion.
std::vector<const SetMetric*> choose_metrics(const std::vector<std::string>& names);

/// Why the metric can't be had of this network and reference; "": it can. reference: what the
/// reference has, null: there is none.
std::string obstacle(const SetMetric&, const FeatureNetwork&, const FeatureSet* reference);
/// Of those, what the network alone stands for.
std::string obstacle(const SetMetric&, const FeatureNetwork&);

/// What must be kept for these metrics.
Keep kept_for(const std::vector<const SetMetric*>&, const FeatureNetwork&);

}  // namespace tiller
