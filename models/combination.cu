// The op tiller::weighted_sum on CUDA; its schema and LibTorch reference stand in combination.cpp.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace tiller {
namespace {
using at::Tensor;

constexpr int kThreads = 256, kDims = 4;
constexpr int64_t kMaxBlocks = 4096, kMostTerms = 12;

/// Of any layout and floating type, in up to kDims dimensions, the last ones.
struct Term {
  const void* data;
  at::ScalarType type;
  int64_t stride[kDims];
};

struct Terms {
  int count;
  Term term[kMostTerms];
  double factor[kMostTerms];
  uint32_t size[kDims];
};

__device__ double value_at(const Term& term, int64_t place) {
  switch (term.type) {
    case at::kDouble:
      return static_cast<const double*>(term.data)[place];
    case at::kBFloat16:
      return __bfloat162float(static_cast<const __nv_bfloat16*>(term.data)[place]);
    case at::kHalf:
      return __half2float(static_cast<const __half*>(term.data)[place]);
    default:
      return static_cast<const float*>(term.data)[place];
  }
}

/// In float64, rounded once.
template <class T>
__global__ void weighted_sum_kernel(const Terms terms, T* sums, uint32_t count) {
  const uint32_t step = gridDim.x * blockDim.x;
  for (uint32_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step) {
    uint32_t at[kDims], rest = i;
    for (int d = kDims - 1; d >= 0; --d) {
      at[d] = rest % terms.size[d];
      rest /= terms.size[d];
    }
    double sum = 0;
    for (int k = 0; k < terms.count; ++k) {
      int64_t place = 0;
      for (int d = 0; d < kDims; ++d) place += at[d] * terms.term[k].stride[d];
      sum = fma(terms.factor[k], value_at(terms.term[k], place), sum);
    }
    sums[i] = static_cast<T>(sum);
  }
}

Terms terms_of(at::TensorList x, at::ArrayRef<double> factors) {
  Terms terms{static_cast<int>(x.size()), {}, {}, {}};
  const int64_t missing = kDims - x[0].dim();
  for (int64_t d = 0; d < kDims; ++d)
    terms.size[d] = d < missing ? 1 : static_cast<uint32_t>(x[0].size(d - missing));
  for (size_t k = 0; k < x.size(); ++k) {
    terms.term[k].data = x[k].const_data_ptr();
    terms.term[k].type = x[k].scalar_type();
    terms.factor[k] = factors[k];
    for (int64_t d = missing; d < kDims; ++d)
      terms.term[k].stride[d] = x[k].size(d - missing) == 1 ? 0 : x[k].stride(d - missing);
  }
  return terms;
}

template <class T>
void launch(at::TensorList x, at::ArrayRef<double> factors, Tensor& sums) {
  const int64_t count = sums.numel();
  const int64_t blocks = std::min<int64_t>((count + kThreads - 1) / kThreads, kMaxBlocks);
  weighted_sum_kernel<T>
      <<<static_cast<unsigned>(blocks), kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(
          terms_of(x, factors), sums.mutable_data_ptr<T>(), static_cast<uint32_t>(count));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

/// The sum of more terms than a launch takes: of the first ones, then with the others.
Tensor weighted_sum_cuda(at::TensorList x, at::ArrayRef<double> factors);

Tensor sum_in_parts(at::TensorList x, at::ArrayRef<double> factors) {
  std::vector<Tensor> rest(x.begin() + kMostTerms, x.end());
  std::vector<double> weights(factors.begin() + kMostTerms, factors.end());
  rest.push_back(weighted_sum_cuda(x.slice(0, kMostTerms), factors.slice(0, kMostTerms)));
  weights.push_back(1);
  return weighted_sum_cuda(rest, weights);
}

Tensor weighted_sum_cuda(at::TensorList x, at::ArrayRef<double> factors) {
  TORCH_CHECK(!x.empty() && x.size() == factors.size(), "weighted_sum: got ", x.size(),
              " tensors and ", factors.size(), " factors");
  if (x.size() > kMostTerms) return sum_in_parts(x, factors);
  bool wide = false;
  for (const Tensor& one : x) {
    TORCH_CHECK(one.sizes() == x[0].sizes() && one.dim() <= kDims, "weighted_sum: got shapes ",
                x[0].sizes(), " and ", one.sizes(), ", expected one of at most ", kDims,
                " dimensions");
    TORCH_CHECK(one.device() == x[0].device(), "weighted_sum: got tensors on ", x[0].device(),
                " and ", one.device());
    TORCH_CHECK(one.is_floating_point() && one.element_size() > 1, "weighted_sum: got ",
                one.scalar_type());
    wide |= one.scalar_type() == at::kDouble;
  }
  const c10::cuda::CUDAGuard guard(x[0].device());
  Tensor sums = at::empty(x[0].sizes(), x[0].options().dtype(wide ? at::kDouble : at::kFloat));
  TORCH_CHECK(sums.numel() < int64_t{1} << 31, "weighted_sum: got shape ", sums.sizes());
  if (sums.numel() == 0) return sums;
  if (wide)
    launch<double>(x, factors, sums);
  else
    launch<float>(x, factors, sums);
  return sums;
}

}  // namespace

TORCH_LIBRARY_IMPL(tiller, CUDA, library) { library.impl("weighted_sum", weighted_sum_cuda); }

}  // namespace tiller
