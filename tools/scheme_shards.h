#pragma once
#include "guidance/denoiser.h"
#include "tools/feature_extraction.h"

namespace tiller {

/// What a batch of a scheme's images gave.
struct SchemeBatch {
  int64_t first = 0, count = 0;    ///< Images first, ..., first + count - 1.
  std::vector<Features> features;  ///< One a network.
  Tensor clip;                     ///< (count) CLIP scores; undefined: not asked for.
  double evaluations = 0;          ///< Of the network, an image.
  double calls = 0;                ///< Of the network, one after the other; 0: not known.
  double flops = 0;                ///< All the batch's.
  double seconds = 0;              ///< All the batch's, with decoding.
  double peak_memory = 0;          ///< Bytes of the process while it was made; 0: not known.
};

/// The batches of one scheme on disk, each a file that is whole or not there: a run goes on after a
/// kill at any moment, and several processes can share the work.
class SchemeShards {
 public:
  /// key: what the batches depend on, as a hash.
  SchemeShards(fs::path folder, const std::string& key);

  const fs::path& folder() const { return folder_; }
  /// Whether the batch is there whole, with so many images and networks. What isn't is to be made
  /// again: damaged files, and the last batch of a run with another number of samples.
  bool has(int64_t first, int64_t count, size_t networks) const;
  void save(const SchemeBatch&) const;
  /// Throws Error when the file is damaged or of another shape.
  SchemeBatch load(int64_t first, size_t networks) const;
  /// A batch's file, and one that another process sent.
  std::string bytes(int64_t first) const;
  void keep(int64_t first, std::string_view bytes) const;

 private:
  fs::path file(int64_t first) const;
  fs::path folder_;
};

}  // namespace tiller
