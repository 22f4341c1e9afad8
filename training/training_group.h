#pragma once
#include "io/process_group.h"

namespace c10d {
class Reducer;
}

namespace tiller {

/// Processes that train one model together.
class TrainingGroup : public ProcessGroup {
 public:
  explicit TrainingGroup(const Processes&);
  ~TrainingGroup();

  /// From now on a backward pass after `expect_gradients` leaves in every process the mean of the
  /// processes' gradients. They travel in buckets while the rest is computed. The weights are
  /// leaves, in the same order everywhere, and each must get a gradient.
  void average_gradients_of(const std::vector<Tensor>& weights);
  /// Announces the backward pass whose gradients, with what earlier ones left, are to be averaged.
  void expect_gradients();

 private:
  std::unique_ptr<c10d::Reducer> reducer_;  ///< Null with one process.
};

}  // namespace tiller
