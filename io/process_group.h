#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

#include "io/processes.h"

namespace c10d {
class Backend;
class ProcessGroup;
}  // namespace c10d

namespace tiller {
using at::Tensor;

/// Processes that work on one thing together, through LibTorch's c10d: Gloo, a GPU's tensors by way
/// of the CPU unless `connect_gpus` finds NCCL. With one process nothing is sent. Every process
/// makes the same calls in the same order; they throw Error when another process is gone.
class ProcessGroup {
 public:
  /// Waits for the others. Throws Error where this build can't connect them.
  explicit ProcessGroup(const Processes&);
  ~ProcessGroup();

  int rank() const { return launch_.rank; }
  int world() const { return launch_.world; }
  bool first() const { return rank() == 0; }

  /// From now on a GPU's tensors go by NCCL, if every process has a GPU of its own, namely the
  /// device that it computes on, and libtiller_cuda.so has NCCL. Returns whether they do.
  bool connect_gpus(at::Device);

  /// Over all processes, in place. When it returns, what NCCL was asked for before is done, too.
  void sum(Tensor&);
  /// The first process's values, in place.
  void broadcast(std::vector<Tensor>&);
  /// What each process gave, in the order of ranks: any number of tensors of any types and sizes,
  /// undefined ones too. This process's come back as they are, the others' on the CPU. state: a
  /// number that all processes are to agree on; throws Error where they don't.
  std::vector<std::vector<Tensor>> gather(const std::vector<Tensor>& own, int64_t state = 0);
  /// The same for the first process alone; the others get nothing.
  std::vector<std::vector<Tensor>> gather_at_first(const std::vector<Tensor>& own);

 protected:
  /// Null with one process.
  const c10::intrusive_ptr<c10d::ProcessGroup>& c10d() const { return c10d_; }

 private:
  std::vector<int64_t> sizes_of_all(int64_t own, int64_t state);
  void meet_for_nccl();
  Launch launch_;
  c10::intrusive_ptr<c10d::ProcessGroup> c10d_;
  c10::intrusive_ptr<c10d::Backend> nccl_;  ///< Null where a GPU's tensors go by way of the CPU.
};

/// What c10d throws while another process is gone, as an Error of one line.
void translate_lost_process(const std::function<void()>& work);

}  // namespace tiller
