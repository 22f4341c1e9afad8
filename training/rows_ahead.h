#pragma once
#include <ATen/core/Tensor.h>

#include <future>

namespace tiller {
using at::Tensor;

/// Rows of a large tensor on the CPU, copied by a thread of its own before they are needed: rows of
/// a mapped file come from the disk.
class RowsAhead {
 public:
  /// Begins to copy these rows; indices: (B) int64. The tensor must outlive this.
  void read(const Tensor& from, const Tensor& indices);
  /// The rows, (B, ...): those that `read` began where they are the same, else copied now.
  Tensor take(const Tensor& from, const Tensor& indices);

 private:
  Tensor expected_;
  std::future<Tensor> rows_;
};

}  // namespace tiller
