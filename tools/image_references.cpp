#include "tools/image_references.h"

#include "io/error.h"
#include "metrics/reference_statistics.h"
#include "models/device.h"

namespace tiller {
namespace {

void require_width(const fs::path& path, const Moments& moments, const FeatureNetwork& network) {
  if (moments.width() == network.width) return;
  throw Error(path.string() + ": got statistics of " + std::to_string(moments.width()) +
              " features, expected the " + std::to_string(network.width) + " of " + network.name +
              ".");
}

ReferenceSet statistics_reference(const fs::path& path, const FeatureNetworks& by,
                                  ReferenceStatistics statistics) {
  if (by.networks.size() != 1)
    throw UsageError("--reference " + path.string() + ": got statistics with " +
                     std::to_string(by.networks.size()) +
                     " --features, expected one: that which made them.");
  if (statistics.pool) require_width(path, *statistics.pool, by.networks.front());
  FeatureSet set{.count = statistics.pool ? statistics.pool->count : 0,
                 .moments = std::move(statistics.pool),
                 .spatial = std::move(statistics.spatial)};
  Json description = {{"path", path.string()}, {"kind", "statistics"}};
  if (set.count) description["count"] = set.count;
  return {{std::move(set)}, description};
}

}  // namespace

FeatureNetworks feature_networks(const Flags& flags, const std::vector<const SetMetric*>& metrics) {
  std::vector<std::string> texts = flags.all("features");
  if (texts.empty()) texts = {"efficientnet-lite0"};
  std::optional<ResizeRule> resize;
  if (flags.has("resize")) resize = resize_rule_from("--resize", flags.text("resize"));
  const at::Device device = choose_device(flags.text("device", "auto"));
  FeatureNetworks by;
  for (const auto& text : texts) {
    by.networks.push_back(load_features(text, resize, device));
    by.keep.push_back(kept_for(metrics, by.networks.back()));
    for (size_t i = 0; i + 1 < by.networks.size(); ++i)
      if (by.networks[i].distance == by.networks.back().distance)
        throw UsageError("--features: got " + by.networks.back().name +
                         " twice, expected each once: their figures would have the same names.");
  }
  return by;
}

ReferenceSet load_reference(const fs::path& path, const FeatureNetworks& by, size_t batch,
                            bool strict) {
  if (path.extension() == ".npz") {
    ReferenceStatistics statistics = load_reference_statistics(path);
    // guided-diffusion's reference batches hold both: the images say more.
    if (!statistics.images) return statistics_reference(path, by, std::move(statistics));
  }
  ImageSource source(path);
  ExtractedSet set = extract_features(by, source, batch, "reference", strict);
  if (set.features.front().count < 2)
    throw Error(path.string() + ": got " + std::to_string(set.features.front().count) +
                " images that can be used, expected at least 2.");
  Json description = {{"path", path.string()},
                      {"kind", "images"},
                      {"count", set.features.front().count},
                      {"skipped", set.skipped.size()}};
  return {std::move(set.features), description};
}

}  // namespace tiller
