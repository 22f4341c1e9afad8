#pragma once
/// Weighted sums of tensors of any layout on CUDA.
#include <ATen/core/Tensor.h>

#include <cmath>
#include <cstdint>

#include "models/kernels/device_code.cuh"

namespace tiller::kernels {

constexpr int kTermDims = 4;
constexpr int64_t kMostTerms = 64;

/// Of any layout and floating type, in up to kTermDims dimensions, the last ones.
struct Term {
  const void* data;
  at::ScalarType type;
  int64_t stride[kTermDims];
};

struct Terms {
  int count;
  Term term[kMostTerms];
  double factor[kMostTerms];
  uint32_t size[kTermDims];
};
static_assert(sizeof(Terms) < 4000, "a kernel's arguments take no more than 4 KB");

/// x: of one shape, no more than kMostTerms.
inline Terms terms_of(at::TensorList x, at::ArrayRef<double> factors) {
  Terms terms{static_cast<int>(x.size()), {}, {}, {}};
  const int64_t missing = kTermDims - x[0].dim();
  for (int64_t d = 0; d < kTermDims; ++d)
    terms.size[d] = d < missing ? 1 : static_cast<uint32_t>(x[0].size(d - missing));
  for (size_t k = 0; k < x.size(); ++k) {
    terms.term[k].data = x[k].const_data_ptr();
    terms.term[k].type = x[k].scalar_type();
    terms.factor[k] = factors[k];
    for (int64_t d = missing; d < kTermDims; ++d)
      terms.term[k].stride[d] = x[k].size(d - missing) == 1 ? 0 : x[k].stride(d - missing);
  }
  return terms;
}

__device__ inline double value_at(const Term& term, int64_t place) {
  switch (term.type) {
    case at::kDouble:
      return static_cast<const double*>(term.data)[place];
    case at::kBFloat16:
      return static_cast<float>(static_cast<const at::BFloat16*>(term.data)[place]);
    case at::kHalf:
      return static_cast<float>(static_cast<const at::Half*>(term.data)[place]);
    default:
      return static_cast<const float*>(term.data)[place];
  }
}

/// In float64, rounded once. sums: contiguous, `count` elements, under 2^31. Blocks of one
/// dimension.
template <class T>
__global__ void weighted_sum_kernel(const Terms terms, T* sums, uint32_t count) {
  const uint32_t step = gridDim.x * blockDim.x;
  for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
    uint32_t at[kTermDims], rest = i;
    for (int d = kTermDims - 1; d >= 0; --d) {
      at[d] = rest % terms.size[d];
      rest /= terms.size[d];
    }
    double sum = 0;
    for (int k = 0; k < terms.count; ++k) {
      int64_t place = 0;
      for (int d = 0; d < kTermDims; ++d) place += at[d] * terms.term[k].stride[d];
      sum = fma(terms.factor[k], value_at(terms.term[k], place), sum);
    }
    sums[i] = static_cast<T>(sum);
  }
}

}  // namespace tiller::kernels
