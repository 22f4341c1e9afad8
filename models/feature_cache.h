#pragma once
#include <optional>

#include "io/options.h"
#include "models/network.h"

namespace tiller {

/// When a network's deep part is evaluated, and when what it gave before is taken again. The rest,
/// skips 0 to `branch` and the blocks of the way up that read these, is evaluated every time.
struct FeatureCache {
  std::string text = {};  ///< As written, "deepcache:interval=3".
  int64_t branch = 0;     ///< DeepCache's cache_branch_id.
  int64_t interval = 0;   ///< Steps from one whole evaluation to the next; 0: `threshold` decides.
  /// Largest change of the first block's residual since an image's last whole evaluation, as
  /// sum |r - r'| / sum |r'|, with which its deep part isn't evaluated.
  double threshold = 0;
};

/// A way to cache as the command line and `tiller list` know it.
struct CacheEntry {
  std::string name;
  std::string description;  ///< One line.
  std::string paper;        ///< arXiv number.
  std::vector<Option> options;
  FeatureCache (*make)(const Options&) = nullptr;
};

const std::vector<CacheEntry>& caches();

/// Reads "deepcache:interval=3,branch=0"; empty: "none" or "". Throws UsageError on an unknown name
/// or option, or a branch that the network doesn't have.
std::optional<FeatureCache> choose_cache(const std::string& text, const Network&);

}  // namespace tiller
