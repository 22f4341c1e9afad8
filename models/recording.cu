// CUDA graphs, as operators so that the program doesn't link LibTorch's CUDA part; their schemas
// stand in recording.cpp.
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/library.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>

namespace tiller {
namespace {

using at::Tensor;
namespace memory = c10::cuda::CUDACachingAllocator;

struct Recording {
  Recording(c10::cuda::CUDAStream stream, at::cuda::MempoolId_t pool)
      : stream(stream), pool(pool) {}
  at::cuda::CUDAGraph graph;
  c10::cuda::CUDAStream stream;
  at::cuda::MempoolId_t pool;
  std::optional<c10::cuda::CUDAStreamGuard> recording;  ///< While it goes on.
};

std::mutex mutex;
std::map<int64_t, std::shared_ptr<Recording>> recordings;
std::map<int64_t, at::cuda::MempoolId_t> pools;
int64_t next = 0;

std::shared_ptr<Recording> recording_of(int64_t id) {
  const std::lock_guard lock(mutex);
  const auto found = recordings.find(id);
  TORCH_CHECK(found != recordings.end(), "graph: got ", id, ", which isn't recorded.");
  return found->second;
}

at::cuda::MempoolId_t pool_of(int64_t id) {
  const std::lock_guard lock(mutex);
  return pools.at(id);
}

/// One a device: memory of one stream isn't given to another's graphs.
c10::cuda::CUDAStream recording_stream(c10::DeviceIndex device) {
  static std::map<c10::DeviceIndex, c10::cuda::CUDAStream> streams;
  const std::lock_guard lock(mutex);
  const auto found = streams.find(device);
  if (found != streams.end()) return found->second;
  return streams.emplace(device, c10::cuda::getStreamFromPool(false, device)).first->second;
}

/// A pool dies with the last of its graphs, so each set of recordings has its own.
int64_t make_pool(const Tensor&) {
  const std::lock_guard lock(mutex);
  pools[next] = at::cuda::graph_pool_handle();
  return next++;
}

/// What a recording that failed leaves behind: LibTorch's allocators, the GPU's and that of pinned
/// memory, would go on as if it lasted.
void abandon(Recording& recording) {
  const auto quietly = [](const auto& act) {
    try {
      act();
    } catch (const std::exception&) {
      cudaGetLastError();
    }
  };
  const c10::DeviceIndex device = recording.stream.device_index();
  bool ended = false;
  quietly([&] {
    recording.graph.capture_end();
    ended = true;
  });
  if (!ended) {
    quietly([&] {
      // Throws where LibTorch has ended it, which gives the pool back itself then.
      memory::endAllocateToPool(device, recording.pool);
      memory::releasePool(device, recording.pool);
    });
    quietly([&] { at::getHostAllocator(at::kCUDA)->end_allocate_to_pool(recording.pool); });
  }
  recording.recording.reset();
}

/// Graphs can't be recorded on the stream that LibTorch uses by default: work goes to another one,
/// after what was asked of this one. Memory that lies idle is given back first, since it can't be
/// while a recording goes on.
int64_t begin(const Tensor& device, int64_t pool) {
  const c10::cuda::CUDAGuard guard(device.device());
  const auto recording =
      std::make_shared<Recording>(recording_stream(device.device().index()), pool_of(pool));
  at::cuda::CUDAEvent asked;
  asked.record(c10::cuda::getCurrentCUDAStream());
  asked.block(recording->stream);
  memory::emptyCache();
  recording->recording.emplace(recording->stream);
  try {
    recording->graph.capture_begin(recording->pool, cudaStreamCaptureModeThreadLocal);
  } catch (const std::exception&) {
    abandon(*recording);
    throw;
  }
  const std::lock_guard lock(mutex);
  recordings[next] = recording;
  return next++;
}

void end(const Tensor& device, int64_t id) {
  const c10::cuda::CUDAGuard guard(device.device());
  const auto recording = recording_of(id);
  recording->graph.capture_end();
  recording->recording.reset();
}

void replay(const Tensor& device, int64_t id) {
  const c10::cuda::CUDAGuard guard(device.device());
  recording_of(id)->graph.replay();
}

/// Of one that is being recorded too, whose work failed.
void free_graph(const Tensor& device, int64_t id) {
  const c10::cuda::CUDAGuard guard(device.device());
  const auto recording = recording_of(id);
  if (recording->recording) abandon(*recording);
  const std::lock_guard lock(mutex);
  recordings.erase(id);
}

}  // namespace

TORCH_LIBRARY_IMPL(tiller, CUDA, m) {
  m.impl("graph_pool", make_pool);
  m.impl("graph_begin", begin);
  m.impl("graph_end", end);
  m.impl("graph_replay", replay);
  m.impl("graph_free", free_graph);
}

}  // namespace tiller
