#pragma once
/// Activations in float32 on CUDA. Where values are stored in sixteen bits (T), by the special
/// function unit's exponential and reciprocal.
#include <cmath>

#include "models/kernels/device_code.cuh"

namespace tiller::kernels {

/// 1 / (1 + e^-z).
template <class T>
__device__ float sigmoid(float z) {
  if constexpr (sizeof(T) == sizeof(float)) return 1.f / (1.f + expf(-z));
  return fast_divide(1.f, 1.f + fast_exp2(-kLog2E * z));
}

/// The share of a standard normal below z: in sixteen bits by Abramowitz and Stegun's 7.1.26, whose
/// error is below 8e-8.
template <class T>
__device__ float normal_below(float z) {
  if constexpr (sizeof(T) == sizeof(float)) return 0.5f * (1.f + erff(z * 0.70710678118654752f));
  const float x = fabsf(z) * 0.70710678118654752f;
  const float t = fast_divide(1.f, 1.f + 0.3275911f * x);
  const float series =
      t * (0.254829592f +
           t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
  const float above = 0.5f * series * fast_exp2(-kLog2E * x * x);
  return z < 0.f ? above : 1.f - above;
}

}  // namespace tiller::kernels
