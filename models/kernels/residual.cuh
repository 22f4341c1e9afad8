#pragma once
/// A residual sum on CUDA.
#include <cstdint>

#include "models/kernels/device_code.cuh"
#include "models/kernels/pack.cuh"

namespace tiller::kernels {

/// y = (x + own) + (h + offset), each sum rounded to T. x, h, y: `packs` packs, of which
/// `channel_packs` in a row are all channels; own: null, or like offset (channels). Threads take
/// packs in turns.
template <class T, int vector>
__global__ void residual_sum_kernel(const T* x, const T* own, const T* h, const T* offset, T* y,
                                    uint32_t packs, uint32_t channel_packs) {
  using Values = Pack<T, vector>;
  const uint32_t stride = gridDim.x * blockDim.x;
  for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < packs; i += stride) {
    const uint32_t c = i % channel_packs;
    Values sum = reinterpret_cast<const Values*>(x)[i];
    if (own) sum = added(sum, reinterpret_cast<const Values*>(own)[c]);
    const Values term = reinterpret_cast<const Values*>(h)[i];
    sum = added(sum, added(term, reinterpret_cast<const Values*>(offset)[c]));
    reinterpret_cast<Values*>(y)[i] = sum;
  }
}

}  // namespace tiller::kernels
