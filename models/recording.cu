// CUDA graphs, as operators so that the program doesn't link LibTorch's CUDA part; their schemas
// stand in recording.cpp.
#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/library.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>

namespace tiller {
namespace {

using at::Tensor;

struct Recording {
  explicit Recording(c10::cuda::CUDAStream stream) : stream(stream) {}
  at::cuda::CUDAGraph graph;
  c10::cuda::CUDAStream stream;
  std::optional<c10::cuda::CUDAStreamGuard> recording;  ///< While it goes on.
};

std::mutex mutex;
std::map<int64_t, std::shared_ptr<Recording>> recordings;
int64_t next = 0;

std::shared_ptr<Recording> recording_of(int64_t id) {
  const std::lock_guard lock(mutex);
  const auto found = recordings.find(id);
  TORCH_CHECK(found != recordings.end(), "graph: got ", id, ", which isn't recorded.");
  return found->second;
}

/// Graphs can't be recorded on the stream that LibTorch uses by default: work goes to another one,
/// after what was asked of this one.
int64_t begin(const Tensor& device) {
  static const auto pool = at::cuda::graph_pool_handle();
  const c10::cuda::CUDAGuard guard(device.device());
  at::cuda::CUDAEvent asked;
  asked.record(c10::cuda::getCurrentCUDAStream());
  const auto recording =
      std::make_shared<Recording>(c10::cuda::getStreamFromPool(false, device.device().index()));
  asked.block(recording->stream);
  recording->recording.emplace(recording->stream);
  recording->graph.capture_begin(pool, cudaStreamCaptureModeThreadLocal);
  const std::lock_guard lock(mutex);
  recordings[next] = recording;
  return next++;
}

void end(const Tensor&, int64_t id) {
  const auto recording = recording_of(id);
  recording->graph.capture_end();
  recording->recording.reset();
}

void replay(const Tensor& device, int64_t id) {
  const c10::cuda::CUDAGuard guard(device.device());
  recording_of(id)->graph.replay();
}

/// Of one that is being recorded too, whose work failed.
void free_graph(const Tensor&, int64_t id) {
  const auto recording = recording_of(id);
  if (recording->recording) {
    try {
      recording->graph.capture_end();
    } catch (const std::exception&) {
      cudaGetLastError();
    }
    recording->recording.reset();
  }
  const std::lock_guard lock(mutex);
  recordings.erase(id);
}

}  // namespace

TORCH_LIBRARY_IMPL(tiller, CUDA, m) {
  m.impl("graph_begin", begin);
  m.impl("graph_end", end);
  m.impl("graph_replay", replay);
  m.impl("graph_free", free_graph);
}

}  // namespace tiller
