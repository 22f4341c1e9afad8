#pragma once
/// 8-bit floats (E4M3) times a power of two. fp8.cpp is compiled once an instruction set;
/// models/fp8.cpp picks one at run time.
#include <cstdint>

namespace tiller::kernels {

struct Fp8Table {
  void (*to_float)(const uint8_t* values, float scale, float* out, int64_t columns);
  /// Without rounding where `scale` is a power of two.
  void (*to_bfloat16)(const uint8_t* values, float scale, uint16_t* out, int64_t columns);
};

/// Each defined by one compilation of fp8.cpp.
const Fp8Table& fp8_baseline();
const Fp8Table& fp8_avx2();
const Fp8Table& fp8_avx512();

}  // namespace tiller::kernels
