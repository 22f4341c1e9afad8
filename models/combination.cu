// The op tiller::weighted_sum on CUDA; its schema and LibTorch reference stand in combination.cpp.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "models/kernels/weighted_sum.cuh"

namespace tiller {
namespace {
using at::Tensor;
using kernels::kMostTerms;

template <class T>
void launch(at::TensorList x, at::ArrayRef<double> factors, Tensor& sums) {
  constexpr int kThreads = 256;
  constexpr int64_t kMaxBlocks = 4096;
  const int64_t count = sums.numel();
  const int64_t blocks = std::min<int64_t>((count + kThreads - 1) / kThreads, kMaxBlocks);
  kernels::weighted_sum_kernel<T>
      <<<static_cast<unsigned>(blocks), kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(
          kernels::terms_of(x, factors), sums.mutable_data_ptr<T>(), static_cast<uint32_t>(count));
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
    TORCH_CHECK(one.sizes() == x[0].sizes() && one.dim() <= kernels::kTermDims,
                "weighted_sum: got shapes ", x[0].sizes(), " and ", one.sizes(),
                ", expected one of at most ", kernels::kTermDims, " dimensions");
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
