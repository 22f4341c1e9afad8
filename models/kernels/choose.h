#pragma once
/// Which compilation of a kernel's file this processor runs.
#include <ATen/Version.h>

#include <string>

namespace tiller::kernels {

/// One of three tables, by the instructions that LibTorch uses (ATEN_CPU_CAPABILITY lowers them).
template <class Table>
const Table& choose(const Table& (*baseline)(), const Table& (*avx2)(), const Table& (*avx512)()) {
  const std::string instructions = at::get_cpu_capability();
  if (instructions == "AVX512") return avx512();
  return instructions == "AVX2" ? avx2() : baseline();
}

}  // namespace tiller::kernels
