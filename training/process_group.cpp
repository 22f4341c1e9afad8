#include "training/process_group.h"

#include <ATen/ATen.h>

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include "io/error.h"
#include "training/gloo.h"

namespace tiller {

using c10d::Reducer;

struct ProcessGroup::Group {
  c10::intrusive_ptr<c10d::ProcessGroup> c10d;
  std::unique_ptr<Reducer> reducer;
};

namespace {

c10::intrusive_ptr<c10d::ProcessGroup> connect(const Processes& processes) {
  const auto [rank, world] = std::pair(processes.launch().rank, processes.launch().world);
  const auto store = processes.store();
  const auto backend = gloo_backend(store, rank, world);
  if (!backend)
    throw Error("launch: got " + std::to_string(world) +
                " processes, but this build can't connect them to train. Install libgloo-dev and "
                "run make again.");
  const auto group = c10::make_intrusive<c10d::ProcessGroup>(store, rank, world);
  for (const auto device : {at::kCPU, at::kCUDA})
    group->setBackend(device, c10d::ProcessGroup::BackendType::GLOO, backend);
  group->setDefaultBackend(c10d::ProcessGroup::BackendType::GLOO);
  return group;
}

/// Weights that travel together, those whose gradients come first in front:
/// DistributedDataParallel's rule.
std::vector<std::vector<size_t>> buckets_of(const std::vector<Tensor>& weights) {
  auto buckets = std::get<0>(c10d::compute_bucket_assignment_by_size(
      weights, {c10d::kDefaultFirstBucketBytes, c10d::kDefaultBucketBytesCap}));
  std::reverse(buckets.begin(), buckets.end());
  return buckets;
}

}  // namespace

ProcessGroup::ProcessGroup(const Processes& processes) : launch_(processes.launch()) {
  if (launch_.world == 1) return;
  translate_lost_process([&] {
    group_ = std::make_unique<Group>(Group{connect(processes), nullptr});
  });
}

ProcessGroup::~ProcessGroup() = default;

void ProcessGroup::sum(Tensor& tensor) {
  if (!group_) return;
  translate_lost_process([&] {
    std::vector<Tensor> tensors = {tensor};
    group_->c10d->allreduce(tensors)->wait();
  });
}

void ProcessGroup::broadcast(std::vector<Tensor>& tensors) {
  if (!group_) return;
  translate_lost_process([&] {
    for (const auto& tensor : tensors) {
      std::vector<Tensor> one = {tensor};
      group_->c10d->broadcast(one)->wait();
    }
  });
}

void ProcessGroup::average_gradients_of(const std::vector<Tensor>& weights) {
  if (!group_) return;
  group_->reducer = std::make_unique<Reducer>(
      weights, buckets_of(weights), group_->c10d, std::vector<bool>(weights.size(), false),
      c10d::kDefaultBucketBytesCap, /*find_unused_parameters=*/false,
      /*gradient_as_bucket_view=*/false, std::unordered_map<size_t, std::string>(),
      c10d::kDefaultFirstBucketBytes, /*skip_all_reduce_unused_params=*/false,
      /*use_python_reducer=*/false, std::vector<int64_t>());
}

void ProcessGroup::expect_gradients() {
  if (!group_) return;
  translate_lost_process([&] {
    group_->reducer->rebuild_buckets();
    group_->reducer->prepare_for_backward({});
  });
}

void translate_lost_process(const std::function<void()>& work) {
  try {
    work();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    const std::string reason = error.what();
    for (const char* sign : {"gloo", "Gloo", "NCCL", "Connection", "c10d", "Socket"})
      if (reason.find(sign) != reason.npos)
        throw Error("launch: another process is gone, or can't be reached (" +
                    printable(reason.substr(0, reason.find('\n'))) +
                    "). Start all again: the run goes on from its last checkpoint.");
    throw;
  }
}

}  // namespace tiller
