#pragma once
#include "io/progress.h"
#include "metrics/set_metrics.h"
#include "tools/request.h"

namespace tiller {

/// The figures of a set by one network. A metric that can't be had is left out; why goes to `notes`
/// where `named`, and where there is a reference. Advances `progress` by one a metric.
std::vector<Figure> compare(const std::vector<const SetMetric*>&, const Comparison&, bool named,
                            std::vector<std::string>& notes, Progress& progress);

/// The share of images that a classifier of CIFAR-10 takes for what they are; none by other
/// networks, and where a class isn't one of CIFAR-10's. classes: their names, one an image.
std::optional<Figure> class_accuracy(const FeatureNetwork&, const FeatureSet&,
                                     const std::vector<std::string>& classes);

/// Named metrics must be possible with one of the networks at least; throws UsageError. reference:
/// one a network; none: there is no reference.
void require_possible(const std::vector<const SetMetric*>&, const std::vector<FeatureNetwork>&,
                      const std::vector<FeatureSet>& reference);

/// What can be said before a reference is read.
void require_possible(const std::vector<const SetMetric*>&, const std::vector<FeatureNetwork>&);

/// Below it, the bias of distances hides what they are to show.
constexpr int64_t enough_images = 10'000;
/// "" at enough_images or more.
std::string size_note(int64_t images);

/// By their keys, margins as KEY_margin.
Json figures_json(const std::vector<Figure>&);
/// Names, weights and their hashes, and how images are brought to them.
Json networks_json(const std::vector<FeatureNetwork>&);
/// "0.5127 +- 0.41".
std::string shown(const Figure&);

}  // namespace tiller
