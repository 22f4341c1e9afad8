#pragma once
/// Sums rounded to the lattice on CUDA.
#include <cmath>
#include <cstdint>

#include "models/kernels/device_code.cuh"
#include "samplers/lattice.h"

namespace tiller::kernels {

/// z = a x + b y on the lattice, for blocks of one dimension. No fused multiply-add: every compiler
/// and the CPU round alike.
template <class X, class Y>
__global__ void lattice_sum_kernel(const X* x, double a, const Y* y, double b, int64_t* z,
                                   int64_t count) {
  constexpr double scale = 1 << lattice_bits;
  constexpr double limit = double(lattice_limit);
  const int64_t stride = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) {
    const double sum =
        __dadd_rn(__dmul_rn(a, static_cast<double>(x[i])), __dmul_rn(b, static_cast<double>(y[i])));
    const double rounded = rint(sum * scale);
    z[i] = rounded != rounded ? lattice_limit : int64_t(fmin(fmax(rounded, -limit), limit));
  }
}

}  // namespace tiller::kernels
