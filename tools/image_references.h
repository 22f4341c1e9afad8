#pragma once
#include "tools/feature_extraction.h"
#include "tools/request.h"

namespace tiller {

/// The networks that --features and --resize name, EfficientNet-Lite0 where they name none, keeping
/// what the metrics read. Throws UsageError or Error.
FeatureNetworks feature_networks(const Flags&, const std::vector<const SetMetric*>&, at::Device);

/// What images are compared with.
struct ReferenceSet {
  std::vector<FeatureSet> features;  ///< One a network.
  Json description;                  ///< Path, number of images and kind, what was left out.
};

/// Images (all that ImageSource reads) or a .npz file of statistics, which is for one network
/// alone. Throws Error where statistics are of another width, and as extract_features does.
ReferenceSet load_reference(const fs::path&, const FeatureNetworks&, size_t batch, bool strict);

/// Of a reference's description (null: there is none): images that are left out, and too few.
std::vector<std::string> reference_notes(const Json& description);

/// As load_reference; what was extracted of images is kept in `folder` and read from there as long
/// as the names, sizes and times of the files stay the same.
ReferenceSet remembered_reference(const fs::path&, const FeatureNetworks&, const fs::path& folder);

/// A data set's images at one size, which are loaded only where they are needed.
struct SizedImages {
  fs::path path;
  int64_t size = 0;
  std::function<Dataset()> load;
};
/// The same of these. Where the data has captions, the description holds up to a thousand of them
/// from all over it, as "captions".
ReferenceSet remembered_reference(const SizedImages&, const FeatureNetworks&,
                                  const fs::path& folder);

/// So many texts at most, evenly from all over the list.
std::vector<std::string> spread(const std::vector<std::string>&, size_t most);

}  // namespace tiller
