#include "models/recording.h"

#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "models/device.h"
#include "models/operation.h"

namespace tiller {
namespace {

// `device` is any tensor of the device.
TORCH_LIBRARY_FRAGMENT(tiller, library) {
  library.def("graph_pool(Tensor device) -> int");
  library.def("graph_begin(Tensor device, int pool) -> int");
  library.def("graph_end(Tensor device, int graph) -> ()");
  library.def("graph_replay(Tensor device, int graph) -> ()");
  library.def("graph_free(Tensor device, int graph) -> ()");
}

using OnGraph = void(const at::Tensor&, int64_t);

/// A recorded graph, freed with its last user.
class Graph {
 public:
  Graph(at::Tensor device, int64_t pool)
      : device_(std::move(device)),
        id_(operation<int64_t(const at::Tensor&, int64_t)>("tiller::graph_begin")
                .call(device_, pool)) {}
  Graph(const Graph&) = delete;
  ~Graph() {
    try {
      operation<OnGraph>("tiller::graph_free").call(device_, id_);
    } catch (const c10::Error&) {  // the GPU has failed, which whoever uses it next is told
    }
  }
  void end() { operation<OnGraph>("tiller::graph_end").call(device_, id_); }
  void replay() const {
    static const auto replay = operation<OnGraph>("tiller::graph_replay");
    replay.call(device_, id_);
  }

 private:
  at::Tensor device_;
  int64_t id_;
};

Replay record(const at::Tensor& device, int64_t pool, const std::function<void()>& work) {
  const auto graph = std::make_shared<Graph>(device, pool);
  work();
  graph->end();
  return [graph] { graph->replay(); };
}

}  // namespace

Recorder graph_recorder(at::Device device) {
  if (!device.is_cuda() || !cuda_kernels_problem().empty()) return {};
  const at::Tensor like = at::empty({0}, device);
  const int64_t pool = operation<int64_t(const at::Tensor&)>("tiller::graph_pool").call(like);
  return [like, pool](const std::function<void()>& work) { return record(like, pool, work); };
}

}  // namespace tiller
