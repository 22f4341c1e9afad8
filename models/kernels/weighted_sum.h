#pragma once
/// Linear combinations of arrays. weighted_sum.cpp is compiled once an instruction set; choose.h
/// picks one at run time.
#include <cstdint>

namespace tiller::kernels {

/// sums[j] = sum_i factors[i] x[i][j], in float64, rounded once. x: `terms` arrays of `count`.
struct WeightedSumTable {
  void (*of_floats)(const float* const* x, const double* factors, int64_t terms, float* sums,
                    int64_t count);
  void (*of_doubles)(const double* const* x, const double* factors, int64_t terms, double* sums,
                     int64_t count);
};

/// Each defined by one compilation of weighted_sum.cpp.
const WeightedSumTable& weighted_sum_baseline();
const WeightedSumTable& weighted_sum_avx2();
const WeightedSumTable& weighted_sum_avx512();

}  // namespace tiller::kernels
