#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "io/processes.h"

namespace tiller {
using at::Tensor;

/// Processes that train one model together, through LibTorch's c10d and Gloo, a GPU's tensors by
/// way of the CPU. With one process nothing is sent. Calls throw Error when another process is
/// gone.
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
  /// From now on a backward pass after `expect_gradients` leaves in every process the mean of the
  /// processes' gradients. They travel in buckets while the rest is computed. The weights are
  /// leaves, in the same order everywhere, and each must get a gradient.
  void average_gradients_of(const std::vector<Tensor>& weights);
  /// Announces the backward pass whose gradients, with what earlier ones left, are to be averaged.
  void expect_gradients();

 private:
  struct Group;
  Launch launch_;
  std::unique_ptr<Group> group_;  ///< Null with one process.
};

/// What c10d throws while another process is gone, as an Error of one line.
void translate_lost_process(const std::function<void()>& work);

}  // namespace tiller
