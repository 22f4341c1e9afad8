#include "io/process_group.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include "io/error.h"
#include "io/gloo.h"
#include "io/nccl.h"
#include "io/tensor_bytes.h"

namespace tiller {
namespace {

using Type = c10d::ProcessGroup::BackendType;

/// By Gloo.
c10::intrusive_ptr<c10d::ProcessGroup> connect(const Processes& processes) {
  const auto [rank, world] = std::pair(processes.launch().rank, processes.launch().world);
  const auto store = processes.store();
  const auto backend = gloo_backend(store, rank, world);
  if (!backend)
    throw Error("launch: got " + std::to_string(world) +
                " processes, but this build can't connect them. Install libgloo-dev and run make "
                "again.");
  const auto group = c10::make_intrusive<c10d::ProcessGroup>(store, rank, world);
  for (const auto device : {at::kCPU, at::kCUDA}) group->setBackend(device, Type::GLOO, backend);
  group->setDefaultBackend(Type::GLOO);
  return group;
}

/// The way out where NCCL itself can't reach the others.
std::string without_nccl(const std::string& sign) {
  return sign == "NCCL" ? " TILLER_NCCL=off does without NCCL." : "";
}

/// Room for the bytes of all, one (bytes) a process.
std::vector<Tensor> room_for(int world, int64_t bytes) {
  std::vector<Tensor> room;
  for (int rank = 0; rank < world; ++rank) room.push_back(at::empty({bytes}, at::kByte));
  return room;
}

}  // namespace

ProcessGroup::ProcessGroup(const Processes& processes) : launch_(processes.launch()) {
  if (launch_.world == 1) return;
  translate_lost_process([&] { c10d_ = connect(processes); });
}

// What NCCL still sends is lost when the sender ends, so all end together; not when one has failed,
// whose end the others' meeting notices.
ProcessGroup::~ProcessGroup() {
  if (!nccl_) return;
  try {
    if (!std::uncaught_exceptions()) meet_for_nccl();
  } catch (const std::exception&) {
  }
  abandon_nccl(nccl_);
}

// The first sum connects NCCL, which would wait for ever for one that is gone by then: so it is
// now.
bool ProcessGroup::connect_gpus(at::Device device) {
  if (!c10d_ || !each_has_its_own(*this, nccl_gpu(device))) return false;
  translate_lost_process([&] {
    nccl_ = nccl_backend(c10d_->getStore(), rank(), world());
    c10d_->setBackend(at::kCUDA, Type::NCCL, nccl_);
  });
  Tensor nothing = at::zeros({1}, device);
  sum(nothing);
  return true;
}

/// NCCL doesn't notice that a process is gone, Gloo does at once.
void ProcessGroup::meet_for_nccl() {
  if (nccl_) c10d_->getBackend(at::kCPU)->barrier()->wait();
}

void ProcessGroup::sum(Tensor& tensor) {
  if (!c10d_) return;
  translate_lost_process([&] {
    if (tensor.is_cuda()) meet_for_nccl();
    std::vector<Tensor> tensors = {tensor};
    c10d_->allreduce(tensors)->wait();
  });
}

void ProcessGroup::broadcast(std::vector<Tensor>& tensors) {
  if (!c10d_) return;
  translate_lost_process([&] {
    meet_for_nccl();
    for (const auto& tensor : tensors) {
      std::vector<Tensor> one = {tensor};
      c10d_->broadcast(one)->wait();
    }
  });
}

/// How many bytes each process has to send.
std::vector<int64_t> ProcessGroup::sizes_of_all(int64_t own, int64_t state) {
  std::vector<Tensor> mine = {at::tensor({own, state}, at::kLong)};
  std::vector<std::vector<Tensor>> all(1);
  for (int rank = 0; rank < world(); ++rank) all[0].push_back(at::empty({2}, at::kLong));
  c10d_->allgather(all, mine)->wait();
  std::vector<int64_t> sizes;
  for (int rank = 0; rank < world(); ++rank) {
    const auto* numbers = all[0][size_t(rank)].const_data_ptr<int64_t>();
    sizes.push_back(numbers[0]);
    if (numbers[1] != all[0][0].const_data_ptr<int64_t>()[1])
      throw Error("launch: process " + std::to_string(rank) +
                  " computes otherwise than the first, expected the same bits. Give all the same "
                  "command, program and kind of machine.");
  }
  return sizes;
}

// Tensors made under InferenceMode can't be written to by c10d's threads.
std::vector<std::vector<Tensor>> ProcessGroup::gather(const std::vector<Tensor>& own,
                                                      int64_t state) {
  if (!c10d_) return {own};
  const c10::InferenceMode writable(false);
  std::vector<std::vector<Tensor>> gathered;
  translate_lost_process([&] {
    const Tensor bytes = packed(own);
    const auto sizes = sizes_of_all(bytes.numel(), state);
    const int64_t most = *std::max_element(sizes.begin(), sizes.end());
    std::vector<Tensor> mine = {at::zeros({most}, at::kByte)};
    mine[0].narrow(0, 0, bytes.numel()).copy_(bytes);
    std::vector<std::vector<Tensor>> all = {room_for(world(), most)};
    c10d_->allgather(all, mine)->wait();
    for (int rank = 0; rank < world(); ++rank)
      gathered.push_back(rank == this->rank() ? own : unpacked(all[0][size_t(rank)]));
  });
  return gathered;
}

std::vector<std::vector<Tensor>> ProcessGroup::gather_at_first(const std::vector<Tensor>& own) {
  if (!c10d_) return {own};
  const c10::InferenceMode writable(false);
  std::vector<std::vector<Tensor>> gathered;
  translate_lost_process([&] {
    std::vector<Tensor> bytes = {packed(own)};
    const auto sizes = sizes_of_all(bytes[0].numel(), 0);
    if (!first()) {
      c10d_->send(bytes, 0, 0)->wait();
      return;
    }
    gathered.push_back(own);
    for (int rank = 1; rank < world(); ++rank) {
      std::vector<Tensor> theirs = {at::empty({sizes[size_t(rank)]}, at::kByte)};
      c10d_->recv(theirs, rank, 0)->wait();
      gathered.push_back(unpacked(theirs[0]));
    }
  });
  return gathered;
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
                    "). Start all again: what has been saved is kept." + without_nccl(sign));
    throw;
  }
}

}  // namespace tiller
