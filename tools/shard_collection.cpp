#include "tools/shard_collection.h"

#include <ATen/ATen.h>

#include <chrono>

#include "io/file.h"
#include "io/gloo.h"

namespace tiller {
namespace {

int64_t number_of_first(ProcessGroup& group) {
  std::vector<Tensor> number = {
      at::tensor({int64_t(std::chrono::system_clock::now().time_since_epoch().count())})};
  group.broadcast(number);
  return number[0].item<int64_t>();
}

/// Whether all processes find a file that the first one writes.
bool see_the_same(ProcessGroup& group, const fs::path& folder) {
  const fs::path file = folder / (".meeting-" + std::to_string(number_of_first(group)));
  if (group.first()) write_file(file, "");
  Tensor written = at::ones({1}, at::kLong);
  group.sum(written);
  Tensor seen = at::full({1}, int64_t(fs::exists(file)), at::kLong);
  group.sum(seen);
  if (group.first()) fs::remove(file);
  return seen.item<int64_t>() == group.world();
}

int64_t batches_of(int64_t images, int64_t size) { return (images + size - 1) / size; }

Tensor as_tensor(const std::string& bytes) {
  Tensor tensor = at::empty({int64_t(bytes.size())}, at::kByte);
  std::memcpy(tensor.mutable_data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

}  // namespace

ShardCollection::ShardCollection(Processes& processes, const fs::path& folder)
    : processes_(&processes) {
  if (processes.launch().world == 1 || !has_gloo()) return;
  processes.meet("start");  // c10d's groups don't notice those that have given up
  group_ = std::make_unique<ProcessGroup>(processes);
  if (see_the_same(*group_, folder)) group_.reset();
}

/// The first process's batches as marks, (batches), in all processes.
Tensor ShardCollection::of_first(const std::set<int64_t>& batches, int64_t size, int64_t images) {
  std::vector<Tensor> marks = {at::zeros({batches_of(images, size)}, at::kByte)};
  for (const int64_t first : batches) marks[0][first / size].fill_(1);
  group_->broadcast(marks);
  return marks[0];
}

void ShardCollection::agree(std::set<int64_t>& missing, int64_t size, int64_t images) {
  if (!group_) return;
  const Tensor marks = of_first(missing, size, images);
  std::erase_if(missing, [&](int64_t first) { return marks[first / size].item<uint8_t>() == 0; });
}

void ShardCollection::bring(const SchemeShards& shards, int64_t size, int64_t images,
                            size_t networks) {
  if (!group_) return;
  processes_->meet("making " + shards.folder().filename().string());
  std::set<int64_t> lacking;
  for (int64_t first = 0; first < images && group_->first(); first += size)
    if (!shards.has(first, std::min(size, images - first), networks)) lacking.insert(first);
  const Tensor marks = of_first(lacking, size, images);
  std::vector<Tensor> own;
  for (int64_t first = 0; first < images && !group_->first(); first += size)
    if (marks[first / size].item<uint8_t>() &&
        shards.has(first, std::min(size, images - first), networks)) {
      own.push_back(at::tensor({first}, at::kLong));
      own.push_back(as_tensor(shards.bytes(first)));
    }
  for (const auto& brought : group_->gather_at_first(own))
    for (size_t i = 0; i + 1 < brought.size(); i += 2) {
      const Tensor bytes = brought[i + 1].contiguous();
      shards.keep(brought[i].item<int64_t>(),
                  {static_cast<const char*>(bytes.const_data_ptr()), size_t(bytes.numel())});
    }
}

}  // namespace tiller
