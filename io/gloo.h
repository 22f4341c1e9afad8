#pragma once
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

namespace tiller {

/// Whether this build can connect processes.
bool has_gloo();

/// c10d's Gloo backend: of CPUs, and of GPUs by way of the CPU. Null when Gloo's headers weren't
/// there at build time.
c10::intrusive_ptr<c10d::Backend> gloo_backend(const c10::intrusive_ptr<c10d::Store>&, int rank,
                                               int world);

}  // namespace tiller
