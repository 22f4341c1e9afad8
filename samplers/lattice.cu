// The op tiller::lattice_sum on CUDA; its schema and LibTorch reference stand in lattice.cpp.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <algorithm>
#include <cstdint>

#include "samplers/lattice.cuh"

namespace tiller {
namespace {

template <class X, class Y>
void launch(const Tensor& x, double a, const Tensor& y, double b, Tensor& z) {
  constexpr int kThreads = 256;
  constexpr int64_t kMaxBlocks = 4096;
  const int64_t count = z.numel();
  const int64_t blocks = std::min<int64_t>((count + kThreads - 1) / kThreads, kMaxBlocks);
  kernels::lattice_sum_kernel<<<static_cast<unsigned>(blocks), kThreads, 0,
                                c10::cuda::getCurrentCUDAStream()>>>(
      x.const_data_ptr<X>(), a, y.const_data_ptr<Y>(), b, z.mutable_data_ptr<int64_t>(), count);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

Tensor as_read(const Tensor& x) {
  return (x.scalar_type() == at::kDouble ? x : x.to(at::kFloat)).contiguous();
}

Tensor lattice_sum_cuda(const Tensor& x, double a, const Tensor& y, double b) {
  TORCH_CHECK(x.sizes() == y.sizes(), "lattice_sum: got shapes ", x.sizes(), " and ", y.sizes());
  const c10::cuda::CUDAGuard guard(x.device());
  const Tensor first = as_read(x), second = as_read(y);
  Tensor z = at::empty(x.sizes(), x.options().dtype(at::kLong));
  if (z.numel() == 0) return z;
  const bool wide_x = first.scalar_type() == at::kDouble;
  const bool wide_y = second.scalar_type() == at::kDouble;
  if (wide_x && wide_y)
    launch<double, double>(first, a, second, b, z);
  else if (wide_x)
    launch<double, float>(first, a, second, b, z);
  else if (wide_y)
    launch<float, double>(first, a, second, b, z);
  else
    launch<float, float>(first, a, second, b, z);
  return z;
}

}  // namespace

TORCH_LIBRARY_IMPL(tiller, CUDA, m) { m.impl("lattice_sum", lattice_sum_cuda); }

}  // namespace tiller
