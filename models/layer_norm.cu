// The op tiller::layer_norm_of_sum on CUDA; its schema and LibTorch reference stand in
// layer_norm.cpp.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "models/kernels/aligned.cuh"
#include "models/kernels/floating_type.h"
#include "models/kernels/layer_norm.cuh"
#include "models/kernels/layer_norm_shape.h"

namespace tiller {
namespace {

using at::Tensor;
using kernels::LayerNormInputs;

constexpr int kTokensABlock = 4;

template <class T, int packs>
void launch(const LayerNormInputs<T>& in, T* sum, T* y) {
  constexpr int kVector = kernels::kPackBytes / sizeof(T);
  const auto blocks = unsigned((in.tokens + kTokensABlock - 1) / kTokensABlock);
  kernels::layer_norm_of_sum<T, kVector, packs>
      <<<blocks, dim3(32, kTokensABlock), 0, c10::cuda::getCurrentCUDAStream()>>>(in, sum, y);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

/// By what one thread holds, which stays in registers.
template <class T>
void launch(const LayerNormInputs<T>& in, T* sum, T* y) {
  constexpr int kHalves = sizeof(T) / 2, kPackChannels = 32 * kernels::kPackBytes / sizeof(T);
  const int packs = (in.channels + kPackChannels - 1) / kPackChannels;
  if (packs <= 2 * kHalves)
    launch<T, 2 * kHalves>(in, sum, y);
  else if (packs <= 3 * kHalves)
    launch<T, 3 * kHalves>(in, sum, y);
  else if (packs <= 5 * kHalves)
    launch<T, 5 * kHalves>(in, sum, y);
  else
    launch<T, 8 * kHalves>(in, sum, y);
}

/// Contiguous, of x's type.
Tensor readable(const Tensor& t, const Tensor& x) {
  return kernels::aligned(t.to(x.scalar_type()).contiguous());
}

std::tuple<Tensor, Tensor> layer_norm_of_sum_cuda(const Tensor& x,
                                                  const std::optional<Tensor>& term,
                                                  const Tensor& weight, const Tensor& bias,
                                                  double eps) {
  const int64_t channels = x.dim() ? x.size(-1) : 0;
  TORCH_CHECK(x.numel() > 0 && kernels::layer_norm_fits(channels) && weight.numel() == channels &&
                  bias.numel() == channels && (!term || term->sizes() == x.sizes()),
              "layer_norm_of_sum: got ", x.sizes(), ", not what the kernel takes.");
  const c10::cuda::CUDAGuard guard(x.device());
  const Tensor from = readable(x, x), scale = readable(weight, x), shift = readable(bias, x);
  const Tensor added = term ? readable(*term, x) : Tensor();
  Tensor y = at::empty_like(from);
  Tensor sum = term ? at::empty_like(from) : at::empty({0}, x.options());
  kernels::with_floating_type(x.scalar_type(), "layer_norm_of_sum", [&]<class T>(T) {
    const LayerNormInputs<T> in{from.const_data_ptr<T>(),
                                term ? added.const_data_ptr<T>() : nullptr,
                                scale.const_data_ptr<T>(),
                                shift.const_data_ptr<T>(),
                                x.numel() / channels,
                                int(channels),
                                float(eps)};
    launch<T>(in, sum.mutable_data_ptr<T>(), y.mutable_data_ptr<T>());
  });
  return {sum, y};
}

}  // namespace

TORCH_LIBRARY_IMPL(tiller, CUDA, m) { m.impl("layer_norm_of_sum", layer_norm_of_sum_cuda); }

}  // namespace tiller
