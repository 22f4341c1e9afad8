#pragma once
#include <ATen/core/Generator.h>

#include "training/dataset.h"

namespace tiller {

/// Images of one training step.
struct TrainBatch {
  Tensor images;  ///< (B, 3, S, S) float32 in [-1, 1].
  Tensor labels;  ///< (B) int64; undefined without.
};

/// Deals out a data set where it lies (CPU or GPU), in a new order each epoch. Step k's batch
/// depends on the seed and k alone.
class Batches {
 public:
  /// The data set must outlive it. flip: mirror half of the images.
  Batches(const Dataset&, int64_t batch, uint64_t seed, bool flip);
  TrainBatch at(int64_t step);

 private:
  Tensor indices(int64_t step);

  const Dataset& data_;
  int64_t batch_;
  uint64_t seed_;
  bool flip_;
  int64_t epoch_ = -1;
  Tensor order_;
};

/// Replaces labels by `null_label` with the given probability.
Tensor drop_labels(const Tensor& labels, double probability, int64_t null_label, at::Generator);

}  // namespace tiller
