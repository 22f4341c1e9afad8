#pragma once
#include <c10/core/Device.h>

#include <chrono>
#include <string>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace tiller {

class ProcessGroup;

/// What libtiller_cuda.so offers where it was built with NCCL (nccl.cu): the function tiller_nccl
/// returns it, so that the program doesn't link LibTorch's CUDA part.
struct Nccl {
  /// A GPU's place in its machine; the parts of a partitioned GPU have one place, as NCCL sees it.
  std::string (*place)(at::Device);
  c10::intrusive_ptr<c10d::Backend> (*backend)(const c10::intrusive_ptr<c10d::Store>&, int rank,
                                               int world, std::chrono::milliseconds timeout);
};

/// What the GPU that this process computes on is called, the same for two processes only where they
/// share it. "" where it can't use NCCL: it computes on the CPU, libtiller_cuda.so isn't loaded or
/// was built without, or TILLER_NCCL is "off". Throws UsageError on another value of that.
std::string nccl_gpu(at::Device);

/// Whether each process has a GPU of its own, as NCCL wants it. gpu: nccl_gpu of this one's. All
/// processes get the same answer.
bool each_has_its_own(ProcessGroup&, const std::string& gpu);

/// c10d's NCCL backend, of processes that each have a GPU of their own. Nobody waits for another
/// before the first tensor is sent.
c10::intrusive_ptr<c10d::Backend> nccl_backend(const c10::intrusive_ptr<c10d::Store>&, int rank,
                                               int world);

/// Ends what is under way, so that the backend can be destroyed though others are gone.
void abandon_nccl(c10::intrusive_ptr<c10d::Backend>);

}  // namespace tiller
