#pragma once
#include "metrics/set_metrics.h"
#include "tools/image_source.h"

namespace tiller {

/// The networks of an evaluation, and what is kept of each one's features.
struct FeatureNetworks {
  std::vector<FeatureNetwork> networks;
  std::vector<Keep> keep;  ///< One a network.

  /// For collecting `expected` images; 0: not known.
  std::vector<FeatureCollector> collectors(int64_t expected = 0) const;
};

/// A set of images, seen by every network.
struct ExtractedSet {
  std::vector<FeatureSet> features;  ///< One a network.
  std::vector<std::string> classes;  ///< One an image: its folder's or the data's name, or "".
  std::vector<std::string> skipped;  ///< Why images were left out.
};

/// What all networks make of all images, at most `batch` at a time, with a progress bar. strict:
/// throws Error naming the first image that can't be decoded.
ExtractedSet extract_features(const FeatureNetworks&, ImageSource&, size_t batch,
                              const std::string& label, bool strict);

}  // namespace tiller
