#pragma once
/// What kernels need beyond CUDA's own words. tests/cuda_on_cpu.h has the same for the CPU, so that
/// kernels, which lie in .cuh files, can be tested without a GPU.
#include <cstdint>

namespace tiller::kernels {

constexpr float kLog2E = 1.4426950408889634f;

}  // namespace tiller::kernels

#ifdef __CUDACC__

namespace tiller::kernels {

/// The shared memory that a launch asks for.
template <class T>
__device__ T* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char tiller_shared_bytes[];
  return reinterpret_cast<T*>(tiller_shared_bytes);
}

/// 2^x as the special function unit has it: 2 ulp; 0 for -infinity.
__device__ inline float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// a / b, 2 ulp; 0 where b is above 2^126.
__device__ inline float fast_divide(float a, float b) { return __fdividef(a, b); }

/// c += a b on tensor cores, by the 32 threads of a warp: a (16, 16), b (16, 8), c (16, 8), in the
/// PTX manual's fragments of mma.m16n8k16. A word holds two values of
/// bfloat16 or half.
template <bool bfloat16>
__device__ void multiply_add_16x8x16(float (&c)[4], const uint32_t (&a)[4],
                                     const uint32_t (&b)[2]) {
  if constexpr (bfloat16)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

}  // namespace tiller::kernels
#endif
