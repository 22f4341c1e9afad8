// c10d's NCCL backend, for nccl.cpp; compiled where CMake finds nccl.h.
#include "io/nccl.h"

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/util/env.h>

#include <new>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

namespace tiller {
namespace {

using Options = c10d::ProcessGroupNCCL::Options;

std::string place(at::Device device) {
  char bus[32] = {};
  C10_CUDA_CHECK(cudaDeviceGetPCIBusId(
      bus, sizeof bus, device.has_index() ? device.index() : c10::cuda::current_device()));
  return bus;
}

/// They hold NCCL's configuration, which is longer than here when LibTorch was built with a later
/// nccl.h: its constructor, which alone writes them, gets room for that.
c10::intrusive_ptr<Options> options_with(std::chrono::milliseconds timeout) {
  constexpr size_t room = 1024;
  auto* const options = new (::operator new(sizeof(Options) + room)) Options();
  options->timeout = timeout;
  return c10::intrusive_ptr<Options>::unsafe_steal_from_new(options);
}

/// Waits block the host, so that a lost process becomes an exception of the waiting thread.
/// LibTorch's other way, a watchdog, ends the whole process.
c10::intrusive_ptr<c10d::Backend> backend(const c10::intrusive_ptr<c10d::Store>& store, int rank,
                                          int world, std::chrono::milliseconds timeout) {
  c10::utils::set_env("TORCH_NCCL_BLOCKING_WAIT", "1", /*overwrite=*/false);
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, world, options_with(timeout));
}

const Nccl functions = {place, backend};

}  // namespace
}  // namespace tiller

extern "C" const tiller::Nccl* tiller_nccl() { return &tiller::functions; }
