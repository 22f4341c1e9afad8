#pragma once
#include <ATen/core/Generator.h>

#include "training/dataset.h"
#include "training/options.h"
#include "training/rows_ahead.h"
#include "training/task.h"

namespace tiller {

/// Images of one training step, or of a part of it.
struct TrainBatch {
  Tensor images;  ///< (B, 3, S, S) float32 in [-1, 1]; of pairs the samples as they are.
  Tensor noise;   ///< Of pairs, as the images; undefined: to be drawn.
  Tensor labels;  ///< (B) int64; undefined without.
};

/// Deals out a data set where it lies (CPU or GPU), in a new order each epoch, or drawn by weights
/// where small groups are to catch up. Step k's batch depends on the seed and k alone.
class Batches {
 public:
  /// The data set must outlive it. flip: mirror half of the images, but for
  /// pairs: the mirrored noise leads elsewhere. balance: see group_weights.
  Batches(const Dataset&, int64_t batch, uint64_t seed, bool flip, double balance = 0);
  Batches(const Dataset& data, const TrainOptions& options);
  /// Of mapped images the part that will be asked for next is read meanwhile.
  TrainBatch at(int64_t step, const BatchPart&);
  TrainBatch at(int64_t step) { return at(step, {0, batch_}); }
  /// An image's file name, or its place in the data set where it has none.
  std::string name_of(int64_t step, int64_t row);
  /// Which images the step's batch has, (B) int64 on the CPU, and which of them are mirrored, (B)
  /// bool.
  Tensor indices(int64_t step);
  Tensor mirrored(int64_t step) const;

 private:
  const Dataset& data_;
  int64_t batch_;
  uint64_t seed_;
  bool flip_;
  Tensor weights_;  // of the images; undefined: all equal
  int64_t epoch_ = -1;
  Tensor order_;
  int64_t drawn_ = -1;  // the step of chosen_
  Tensor chosen_;
  at::Device device_ = at::kCPU;
  std::vector<BatchPart> parts_;  // of a step, in the order they are asked for
  RowsAhead ahead_;
  Tensor draw(int64_t step);
  Tensor images_of(int64_t step, const BatchPart&, const Tensor& chosen);
};

/// An image's weight is its group's size to the power -balance: with 1 every group is drawn as
/// often as any other, with 0 every image. Groups are the data's groups, else its classes. (N)
/// float64. Throws UsageError when the data has neither.
Tensor group_weights(const Dataset&, double balance);

/// One number in [0, 1) an image of the part.
Tensor label_coins(const TrainOptions&, int64_t step, const BatchPart&);
/// Replaces the labels whose coin is below `probability` by `null_label`.
Tensor drop_labels(const Tensor& labels, const Tensor& coins, double probability,
                   int64_t null_label);

}  // namespace tiller
