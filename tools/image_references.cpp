#include "tools/image_references.h"

#include "io/error.h"
#include "io/fingerprint.h"
#include "io/hash.h"
#include "io/safetensors.h"
#include "metrics/reference_statistics.h"
#include "tools/comparison.h"

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

/// Under which figures of the network are found.
std::string figure_key(const FeatureNetwork& network) { return frechet_figure(network, 0).key; }

}  // namespace

FeatureNetworks feature_networks(const Flags& flags, const std::vector<const SetMetric*>& metrics,
                                 at::Device device) {
  std::vector<std::string> texts = flags.all("features");
  if (texts.empty()) texts = {"efficientnet-lite0"};
  std::optional<ResizeRule> resize;
  if (flags.has("resize")) resize = resize_rule_from("--resize", flags.text("resize"));
  FeatureNetworks by;
  for (const auto& text : texts) {
    by.networks.push_back(load_features(text, resize, device));
    by.keep.push_back(kept_for(metrics, by.networks.back()));
    by.keep.back().logits |= by.networks.back().cifar_classes;
    for (size_t i = 0; i + 1 < by.networks.size(); ++i)
      if (figure_key(by.networks[i]) == figure_key(by.networks.back()))
        throw UsageError("--features: got " + by.networks.back().name +
                         " twice, expected each once: their figures would have the same names.");
  }
  return by;
}

namespace {

ReferenceSet reference_of(ImageSource& source, const FeatureNetworks& by, size_t batch,
                          bool strict) {
  ExtractedSet set = extract_features(by, source, batch, "reference", strict);
  if (set.features.front().count < 2)
    throw Error(source.path().string() + ": got " + std::to_string(set.features.front().count) +
                " images that can be used, expected at least 2.");
  Json description = {{"path", source.path().string()},
                      {"kind", "images"},
                      {"count", set.features.front().count},
                      {"skipped", set.skipped.size()}};
  if (!set.skipped.empty()) description["skipped_first"] = set.skipped.front();
  return {std::move(set.features), description};
}

}  // namespace

ReferenceSet load_reference(const fs::path& path, const FeatureNetworks& by, size_t batch,
                            bool strict) {
  if (path.extension() == ".npz") {
    ReferenceStatistics statistics = load_reference_statistics(path);
    // guided-diffusion's reference batches hold both: the images say more.
    if (!statistics.images) return statistics_reference(path, by, std::move(statistics));
  }
  ImageSource source(path);
  return reference_of(source, by, batch, strict);
}

std::vector<std::string> reference_notes(const Json& description) {
  std::vector<std::string> notes;
  if (description.is_null()) return notes;
  if (description.contains("skipped_first"))
    notes.push_back(
        "Of the reference " + description.at("skipped").dump() +
        " images are left out, the first: " + description.at("skipped_first").get<std::string>());
  if (const int64_t count = description.value("count", enough_images); count < enough_images)
    notes.push_back("The reference has " + std::to_string(count) +
                    " images: that few bias distances upwards, too.");
  return notes;
}

namespace {

constexpr size_t reference_batch = 32, most_captions = 1000;

/// size: of the images; 0: each has its own.
std::string key_of(const fs::path& path, int64_t size, const FeatureNetworks& by) {
  std::string text = fingerprint_of(path) + "\n";
  if (size) text += "size " + std::to_string(size) + "\n";
  for (size_t i = 0; i < by.networks.size(); ++i)
    text += by.networks[i].hash + by.networks[i].input + " " +
            std::to_string(by.networks[i].width) + (by.keep[i].spatial ? "s" : "") +
            (by.keep[i].features ? "f" : "") + "\n";
  return sha256_of(text).substr(0, 16);
}

/// Paths needn't be UTF-8.
std::string text_of(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void add_moments(NamedTensors& tensors, const std::string& name, const Moments& moments) {
  tensors.emplace_back(name + "mean", moments.mean);
  tensors.emplace_back(name + "covariance", moments.covariance);
}

NamedTensors tensors_of(const ReferenceSet& set) {
  NamedTensors tensors;
  for (size_t i = 0; i < set.features.size(); ++i) {
    const FeatureSet& features = set.features[i];
    const std::string name = std::to_string(i) + ".";
    add_moments(tensors, name, *features.moments);
    if (features.spatial) add_moments(tensors, name + "spatial.", *features.spatial);
    if (features.features.defined()) tensors.emplace_back(name + "features", features.features);
  }
  return tensors;
}

ReferenceSet set_from(const TensorFile& file, const FeatureNetworks& by) {
  std::map<std::string, Tensor> tensors(file.tensors.begin(), file.tensors.end());
  ReferenceSet set{.features = {}, .description = Json::parse(file.metadata.at("description"))};
  const int64_t count = set.description.at("count");
  const auto moments = [&](const std::string& name) {
    return Moments{count, tensors.at(name + "mean"), tensors.at(name + "covariance")};
  };
  for (size_t i = 0; i < by.networks.size(); ++i) {
    const std::string name = std::to_string(i) + ".";
    FeatureSet features{.count = count, .moments = moments(name)};
    if (by.keep[i].spatial) features.spatial = moments(name + "spatial.");
    if (by.keep[i].features) features.features = tensors.at(name + "features");
    set.features.push_back(std::move(features));
  }
  return set;
}

/// From the file where it was kept, else as it is made.
ReferenceSet remembered(const fs::path& file, const FeatureNetworks& by,
                        const std::function<ReferenceSet()>& make) {
  if (fs::exists(file)) try {
      return set_from(load_safetensors(file), by);
    } catch (const std::exception&) {
      // What can't be read is made again.
    }
  ReferenceSet set = make();
  if (set.description.at("kind") == "images")
    save_safetensors(file, tensors_of(set), {{"description", text_of(set.description)}});
  return set;
}

ReferenceSet reference_of(const SizedImages& images, const FeatureNetworks& by) {
  Dataset data = images.load();
  const std::vector<std::string> captions = spread(data.captions, most_captions);
  ImageSource source(images.path, std::move(data));
  ReferenceSet set = reference_of(source, by, reference_batch, false);
  set.description["size"] = images.size;
  if (!captions.empty()) set.description["captions"] = captions;
  return set;
}

fs::path file_in(const fs::path& folder, const std::string& key) {
  return folder / (key + ".safetensors");
}

}  // namespace

ReferenceSet remembered_reference(const fs::path& path, const FeatureNetworks& by,
                                  const fs::path& folder) {
  return remembered(file_in(folder, key_of(path, 0, by)), by,
                    [&] { return load_reference(path, by, reference_batch, false); });
}

ReferenceSet remembered_reference(const SizedImages& images, const FeatureNetworks& by,
                                  const fs::path& folder) {
  return remembered(file_in(folder, key_of(images.path, images.size, by)), by,
                    [&] { return reference_of(images, by); });
}

std::vector<std::string> spread(const std::vector<std::string>& texts, size_t most) {
  std::vector<std::string> chosen;
  const size_t count = std::min(most, texts.size());
  for (size_t i = 0; i < count; ++i) chosen.push_back(texts[i * texts.size() / count]);
  return chosen;
}

}  // namespace tiller
