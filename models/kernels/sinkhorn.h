#pragma once
/// The inner loop of Sinkhorn's iteration over rows of logits. sinkhorn.cpp is compiled once an
/// instruction set; guidance/sinkhorn_cpu.cpp picks one at run time.
#include <cstdint>

namespace tiller::kernels {

/// A row of exp(logits + potential - max).
struct RowSum {
  float max, sum;
};

struct SinkhornTable {
  /// Overwrites a row of logits by exp(logits + potential - max), max being that of
  /// logits + potential. At least one column.
  RowSum (*exponentials)(float* logits, const float* potential, int64_t columns);
  /// sums += row * weight.
  void (*add_scaled)(const float* row, float weight, float* sums, int64_t columns);
};

/// Each defined by one compilation of sinkhorn.cpp.
const SinkhornTable& sinkhorn_baseline();
const SinkhornTable& sinkhorn_avx2();
const SinkhornTable& sinkhorn_avx512();

}  // namespace tiller::kernels
