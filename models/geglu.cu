// The op tiller::geglu on CUDA; its schema and LibTorch reference stand in geglu.cpp.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <algorithm>

#include "models/kernels/floating_type.h"
#include "models/kernels/geglu.cuh"

namespace tiller {
namespace {

using at::Tensor;

template <class T, int vector>
void launch(const Tensor& x, Tensor& y) {
  constexpr int64_t kThreads = 128, kMaxBlocks = 65535;
  const int64_t channels = y.size(-1), rows = y.numel() / channels;
  const int64_t blocks = std::min((channels / vector + kThreads - 1) / kThreads, kMaxBlocks);
  const dim3 grid(unsigned(blocks), unsigned(std::min(rows, kMaxBlocks)));
  kernels::geglu_kernel<T, vector><<<grid, kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(
      x.const_data_ptr<T>(), y.mutable_data_ptr<T>(), rows, channels);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

template <class T>
void launch(const Tensor& x, Tensor& y) {
  constexpr int kVector = kernels::kPackBytes / sizeof(T);
  const bool aligned = reinterpret_cast<uintptr_t>(x.const_data_ptr()) % kernels::kPackBytes == 0;
  if (aligned && y.size(-1) % kVector == 0)
    launch<T, kVector>(x, y);
  else
    launch<T, 1>(x, y);
}

Tensor geglu_cuda(const Tensor& x) {
  TORCH_CHECK(x.dim() > 0 && x.size(-1) % 2 == 0, "geglu: got ", x.sizes(),
              ", expected an even number of channels.");
  const c10::cuda::CUDAGuard guard(x.device());
  const Tensor from = x.contiguous();
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes.back() /= 2;
  Tensor y = at::empty(sizes, x.options());
  if (y.numel() == 0) return y;
  kernels::with_floating_type(x.scalar_type(), "geglu", [&]<class T>(T) { launch<T>(from, y); });
  return y;
}

}  // namespace

TORCH_LIBRARY_IMPL(tiller, CUDA, m) { m.impl("geglu", geglu_cuda); }

}  // namespace tiller
