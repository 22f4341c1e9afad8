#pragma once
#include <cmath>

#include "models/kernels/device_code.cuh"

namespace tiller::kernels {

/// log(sum(exp(s))) as it grows: the sum is total * exp(peak).
struct LogSum {
  float peak = -INFINITY;
  float total = 0;
};

__device__ LogSum merge(LogSum a, LogSum b) {
  const float peak = fmaxf(a.peak, b.peak);
  if (peak == -INFINITY) return a;
  return {peak, a.total * expf(a.peak - peak) + b.total * expf(b.peak - peak)};
}

}  // namespace tiller::kernels
