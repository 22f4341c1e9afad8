#pragma once
/// Which compilation of a kernel's file this processor runs.
#include <ATen/Version.h>

#include <string>

namespace tiller::kernels {

/// One of three tables, by the instructions that LibTorch uses (ATEN_CPU_CAPABILITY lowers them),
/// chosen at the first call.
template <auto baseline, auto avx2, auto avx512>
const auto& chosen() {
  static const auto& table = []() -> const auto& {
    const std::string instructions = at::get_cpu_capability();
    if (instructions == "AVX512") return avx512();
    return instructions == "AVX2" ? avx2() : baseline();
  }
  ();
  return table;
}

}  // namespace tiller::kernels
