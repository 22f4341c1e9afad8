#pragma once
/// x_1 gelu(x_2) on CUDA.
#include <cstdint>

#include "models/kernels/activations.cuh"
#include "models/kernels/device_code.cuh"
#include "models/kernels/pack.cuh"

namespace tiller::kernels {

/// x: (rows, 2 channels); y: (rows, channels), channels being a multiple of `vector`. Threads take
/// packs of a row in turns, in blocks of one dimension; grid: (any, rows or fewer).
template <class T, int vector>
__global__ void geglu_kernel(const T* x, T* y, int64_t rows, int64_t channels) {
  using Values = Pack<T, vector>;
  const int64_t first = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * vector;
  const int64_t stride = int64_t(gridDim.x) * blockDim.x * vector;
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y)
    for (int64_t c = first; c < channels; c += stride) {
      const T* const from = x + row * 2 * channels + c;
      Values value = *reinterpret_cast<const Values*>(from);
      const Values gate = *reinterpret_cast<const Values*>(from + channels);
#pragma unroll
      for (int v = 0; v < vector; ++v) {
        const float g = static_cast<float>(gate.values[v]);
        const float gelu = g * normal_below<T>(g);
        value.values[v] = static_cast<T>(static_cast<float>(value.values[v]) * gelu);
      }
      *reinterpret_cast<Values*>(y + row * channels + c) = value;
    }
}

}  // namespace tiller::kernels
