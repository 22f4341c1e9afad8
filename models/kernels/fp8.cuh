#pragma once
/// Rows in 8-bit floats on CUDA.
#include <c10/util/Float8_e4m3fn.h>

#include <cmath>
#include <cstdint>

#include "models/kernels/device_code.cuh"

namespace tiller::kernels {

/// 2^ceil(log2(most / 448)): the least power of two that brings `most` within E4M3's range.
__device__ inline float fp8_scale(float most) {
  int exponent;
  const float mantissa = frexpf(fmaxf(most, 1e-30f) / 448.f, &exponent);
  return ldexpf(1.f, mantissa > 0.5f ? exponent : exponent - 1);
}

/// NaN counts: a row that holds one gets NaN for its scale.
__device__ inline float larger(float a, float b) { return a > b || a != a ? a : b; }

/// A warp a row. x, values: (rows, columns); scales: (rows).
template <class T>
__global__ void fp8_rows_kernel(const T* x, c10::Float8_e4m3fn* values, float* scales, int64_t rows,
                                int64_t columns) {
  const int64_t row = int64_t(blockIdx.x) * blockDim.y + threadIdx.y;
  const T* const from = x + row * columns;
  float most = 0;
  if (row < rows)
    for (int64_t j = threadIdx.x; j < columns; j += 32)
      most = larger(most, fabsf(static_cast<float>(from[j])));
  for (int mask = 16; mask > 0; mask /= 2)
    most = larger(most, __shfl_xor_sync(0xffffffff, most, mask));
  if (row >= rows) return;
  const bool finite = most - most == 0;
  const float scale = finite ? fp8_scale(most) : NAN, inverse = 1 / scale;
  if (threadIdx.x == 0) scales[row] = scale;
  for (int64_t j = threadIdx.x; j < columns; j += 32)
    values[row * columns + j] = c10::Float8_e4m3fn(static_cast<float>(from[j]) * inverse);
}

}  // namespace tiller::kernels
