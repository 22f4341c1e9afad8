#pragma once
#include <torch/csrc/stable/c/shim.h>

#include <cstdint>
#include <exception>
#include <mutex>

namespace tiller {

/// f(begin, end) for parts of the range on LibTorch's threads, each at least `grain` long. Throws
/// what f throws. at::parallel_for is a template that runs serially unless the file that calls it
/// is compiled with OpenMP, LibTorch's own; this calls the one in LibTorch.
template <class F>
void parallel_for(int64_t begin, int64_t end, int64_t grain, const F& f) {
  struct Call {
    const F& f;
    std::mutex mutex;
    std::exception_ptr failure;
  } call{f, {}, {}};
  const auto part = [](int64_t from, int64_t to, void* context) {
    auto& own = *static_cast<Call*>(context);
    try {
      own.f(from, to);
    } catch (...) {
      const std::scoped_lock lock(own.mutex);
      own.failure = std::current_exception();
    }
  };
  torch_parallel_for(begin, end, grain, part, &call);
  if (call.failure) std::rethrow_exception(call.failure);
}

}  // namespace tiller
