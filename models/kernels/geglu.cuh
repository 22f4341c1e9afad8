#pragma once
/// x_1 gelu(x_2) on CUDA.
#include <cmath>
#include <cstdint>

#include "models/kernels/device_code.cuh"
#include "models/kernels/pack.cuh"

namespace tiller::kernels {

/// x: (rows, 2 channels); y: (rows, channels), channels being a multiple of `vector`. Threads take
/// packs in turns, in blocks of one dimension.
template <class T, int vector>
__global__ void geglu_kernel(const T* x, T* y, int64_t rows, int64_t channels) {
  using Values = Pack<T, vector>;
  const int64_t packs = channels / vector;
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < rows * packs; i += stride) {
    const T* const from = x + i / packs * 2 * channels + i % packs * vector;
    Values value = *reinterpret_cast<const Values*>(from);
    const Values gate = *reinterpret_cast<const Values*>(from + channels);
#pragma unroll
    for (int v = 0; v < vector; ++v) {
      const float g = static_cast<float>(gate.values[v]);
      const float gelu = 0.5f * g * (1.f + erff(g * 0.70710678118654752f));
      value.values[v] = static_cast<T>(static_cast<float>(value.values[v]) * gelu);
    }
    *reinterpret_cast<Values*>(y + i * vector) = value;
  }
}

}  // namespace tiller::kernels
