#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

#include "io/processes.h"

namespace c10d {
class ProcessGroup;
}

namespace tiller {
using at::Tensor;

/// Processes that work on one thing together, through LibTorch's c10d and Gloo, a GPU's tensors by
/// way of the CPU. With one process nothing is sent. Every process makes the same calls in the same
/// order; they throw Error when another process is gone.
class ProcessGroup {
 public:
  /// Waits for the others. Throws Error where this build can't connect them.
  explicit ProcessGroup(const Processes&);
  ~ProcessGroup();

  int rank() const { return launch_.rank; }
  int world() const { return launch_.world; }
  bool first() const { return rank() == 0; }

  /// Over all processes, in place.
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
  Launch launch_;
  c10::intrusive_ptr<c10d::ProcessGroup> c10d_;
};

/// What c10d throws while another process is gone, as an Error of one line.
void translate_lost_process(const std::function<void()>& work);

}  // namespace tiller
