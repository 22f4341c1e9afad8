#pragma once
#include "models/feature_cache.h"
#include "models/spine.h"

namespace tiller {

/// Who asks for a branch, and which of those that they ask for at a step.
using Asker = std::pair<const void*, size_t>;

/// What networks keep from step to step of one run: for every branch, what the first block of the
/// way up that is evaluated at all steps read from below.
class FeatureMemory {
 public:
  explicit FeatureMemory(FeatureCache cache) : cache_(std::move(cache)) {}

  /// Before a step's evaluations, in their order. What was kept of a branch is for the step after.
  /// All evaluations of a step with the same number are of one kind, and each replaces what the one
  /// before kept.
  void begin_step(int step);
  /// Before an evaluation: one asker a branch.
  void expect(std::vector<Asker> askers) { askers_ = std::move(askers); }
  /// Whether the last evaluation left the deep part out.
  bool reused() const { return reused_; }

  /// How many of a network's skips are evaluated every time. Throws Error when it has fewer.
  size_t shallow(size_t skips) const;
  /// What lies below the last of `skips`, for all groups: as kept, or from `deep`, which may fork
  /// groups. An image's numbers don't depend on the others of the batch: where some need the deep
  /// part and others don't, it is evaluated for all, and each takes its own.
  Tensor recall_or(Rows&, const Skips& skips, const std::function<Tensor()>& deep);

 private:
  struct Kept {
    Tensor deep;   ///< (B, C, H, W)
    Tensor first;  ///< The first block's residual then, (B, C, H, W); undefined: nobody asks.
    int64_t seen = 0;
  };

  std::vector<Tensor> residuals(const Rows&, const Skips&) const;
  bool knows_all(const Tensor& like, int64_t images) const;
  Tensor reusable(const Skips&, const std::vector<Tensor>& residuals, int64_t images) const;
  void keep(const std::vector<Tensor>& deep, const std::vector<Tensor>& residuals,
            const Tensor& reusable);

  FeatureCache cache_;
  std::vector<Asker> askers_;
  std::map<Asker, Kept> kept_;
  std::optional<int> step_;
  int64_t steps_ = 0;  ///< Begun so far.
  bool reused_ = false;
};

}  // namespace tiller
