#pragma once
#include <map>
#include <set>

#include "tools/scheme_run.h"

namespace tiller {

/// Makes the images of schemes, batch by batch, with all processes of a run: each takes the next
/// batch when it is free. Those that are shown are the first process's.
class SchemeMaking {
 public:
  /// A bar over all schemes' images, those of earlier runs done.
  explicit SchemeMaking(const SchemeRun&);

  /// Batches that aren't there yet, and those with pictures where these are missing.
  void make_missing(ReadyScheme&);
  void finish() { progress_.finish(); }

 private:
  /// The batches of a scheme that were missing when the run began.
  using Missing = std::set<int64_t>;

  /// Counts the batches up to `last` as done: they are this process's or were taken by others.
  void pass(Missing&, int64_t last, const std::string& name);
  void make(ReadyScheme&, int64_t first, std::vector<Tensor>& shown);

  const SchemeRun& run_;
  std::map<std::string, Missing> missing_;  ///< By the scheme's folder.
  Progress progress_;
};

}  // namespace tiller
