#include "tools/feature_extraction.h"

#include "io/progress.h"

namespace tiller {

std::vector<FeatureCollector> FeatureNetworks::collectors(int64_t expected) const {
  std::vector<FeatureCollector> all;
  for (size_t i = 0; i < networks.size(); ++i) all.emplace_back(networks[i], keep[i], expected);
  return all;
}

ExtractedSet extract_features(const FeatureNetworks& by, ImageSource& source, size_t batch,
                              const std::string& label, bool strict) {
  ExtractedSet set;
  auto collectors = by.collectors(source.count());
  Progress progress(label, source.count(), "images");
  set.skipped = for_each_batch(source, batch, strict,
                               [&](const Tensor& images, std::span<const SourceImage> sources) {
                                 for (size_t i = 0; i < collectors.size(); ++i)
                                   collectors[i].add(by.networks[i].run(images));
                                 for (const auto& source : sources)
                                   set.classes.push_back(source.label);
                                 progress.advance(images.size(0));
                               });
  progress.finish();
  for (auto& collector : collectors) set.features.push_back(collector.finish());
  return set;
}

}  // namespace tiller
