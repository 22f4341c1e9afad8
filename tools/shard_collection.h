#pragma once
#include <set>

#include "io/process_group.h"
#include "tools/scheme_shards.h"

namespace tiller {

/// Brings batches of schemes that other processes made to the first one, whose files are measured.
/// Where all see the same folder, and with one process, nothing is to be brought, and nothing
/// waits.
class ShardCollection {
 public:
  /// folder: this process's report. Every process calls everything here in the same order. Throws
  /// Error where another has given up.
  ShardCollection(Processes&, const fs::path& folder);

  /// Takes from `missing`, batches of `size` images, what the first process has already.
  void agree(std::set<int64_t>& missing, int64_t size, int64_t images);
  /// Once this process has made its share: the first one gets the batches that it lacks.
  void bring(const SchemeShards&, int64_t size, int64_t images, size_t networks);

 private:
  Tensor of_first(const std::set<int64_t>& batches, int64_t size, int64_t images);

  Processes* processes_;
  std::unique_ptr<ProcessGroup> group_;  ///< Null: nothing is to be brought.
};

}  // namespace tiller
