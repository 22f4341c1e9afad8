#include "training/training_group.h"

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

namespace tiller {
namespace {

/// Weights that travel together, those whose gradients come first in front:
/// DistributedDataParallel's rule.
std::vector<std::vector<size_t>> buckets_of(const std::vector<Tensor>& weights) {
  auto buckets = std::get<0>(c10d::compute_bucket_assignment_by_size(
      weights, {c10d::kDefaultFirstBucketBytes, c10d::kDefaultBucketBytesCap}));
  std::reverse(buckets.begin(), buckets.end());
  return buckets;
}

}  // namespace

TrainingGroup::TrainingGroup(const Processes& processes) : ProcessGroup(processes) {}

TrainingGroup::~TrainingGroup() = default;

void TrainingGroup::average_gradients_of(const std::vector<Tensor>& weights) {
  if (!c10d()) return;
  reducer_ = std::make_unique<c10d::Reducer>(
      weights, buckets_of(weights), c10d(), std::vector<bool>(weights.size(), false),
      c10d::kDefaultBucketBytesCap, /*find_unused_parameters=*/false,
      /*gradient_as_bucket_view=*/false, std::unordered_map<size_t, std::string>(),
      c10d::kDefaultFirstBucketBytes, /*skip_all_reduce_unused_params=*/false,
      /*use_python_reducer=*/false, std::vector<int64_t>());
}

void TrainingGroup::expect_gradients() {
  if (!reducer_) return;
  translate_lost_process([&] {
    reducer_->rebuild_buckets();
    reducer_->prepare_for_backward({});
  });
}

}  // namespace tiller
