#pragma once
#include "models/kernels/device_code.cuh"

namespace tiller::kernels {

/// Of a pack that a thread reads at once: 8 values in half precision, 4 in float32.
constexpr int kPackBytes = 16;

/// Values that a thread reads and writes at once.
template <class T, int count>
struct alignas(sizeof(T) * count) Pack {
  T values[count];
};

/// a + b, rounded to T. By value: a pack in memory is to be read whole.
template <class T, int vector>
__device__ Pack<T, vector> added(Pack<T, vector> a, Pack<T, vector> b) {
  Pack<T, vector> sum;
#pragma unroll
  for (int v = 0; v < vector; ++v)
    sum.values[v] =
        static_cast<T>(static_cast<float>(a.values[v]) + static_cast<float>(b.values[v]));
  return sum;
}

}  // namespace tiller::kernels
