// The op tiller::residual_sum on CUDA; its schema and LibTorch reference stand in residual.cpp.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <algorithm>

#include "models/kernels/aligned.cuh"
#include "models/kernels/floating_type.h"
#include "models/kernels/residual.cuh"
#include "models/residual.h"

namespace tiller {
namespace {

using at::Tensor;

/// All of one type, in the channels-last order, from addresses that packs can be read at.
struct Summands {
  Tensor x;
  std::optional<Tensor> own;
  Tensor h, offset;
};

template <class T>
void launch(const Summands& in, Tensor& y) {
  constexpr int64_t kThreads = 256, kMaxBlocks = 1 << 14;
  constexpr int kVector = kernels::kPackBytes / sizeof(T);
  const int64_t packs = in.x.numel() / kVector;
  const int64_t blocks = std::min((packs + kThreads - 1) / kThreads, kMaxBlocks);
  kernels::residual_sum_kernel<T, kVector>
      <<<unsigned(blocks), kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(
          in.x.const_data_ptr<T>(), in.own ? in.own->const_data_ptr<T>() : nullptr,
          in.h.const_data_ptr<T>(), in.offset.const_data_ptr<T>(), y.mutable_data_ptr<T>(),
          uint32_t(packs), uint32_t(in.x.size(1) / kVector));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

Tensor residual_sum_cuda(const Tensor& x, const std::optional<Tensor>& own, const Tensor& h,
                         const Tensor& offset) {
  const int64_t channels = x.dim() == 4 ? x.size(1) : 0;
  TORCH_CHECK(channels % 8 == 0 && x.numel() > 0 && x.numel() <= kMostSummed &&
                  h.sizes() == x.sizes() && h.scalar_type() == x.scalar_type() &&
                  offset.numel() == channels && (!own || own->numel() == channels),
              "residual_sum: got ", x.sizes(), " and ", h.sizes(), ", not what the kernel takes.");
  const c10::cuda::CUDAGuard guard(x.device());
  const auto ordered = [](const Tensor& t) {
    return kernels::aligned(t.contiguous(at::MemoryFormat::ChannelsLast));
  };
  const auto plain = [&](const Tensor& t) {
    return kernels::aligned(t.to(x.scalar_type()).contiguous());
  };
  const Summands in{ordered(x), own ? std::optional(plain(*own)) : std::nullopt, ordered(h),
                    plain(offset)};
  Tensor y = at::empty_like(in.x, in.x.options(), at::MemoryFormat::ChannelsLast);
  kernels::with_floating_type(x.scalar_type(), "residual_sum",
                              [&]<class T>(T) { launch<T>(in, y); });
  return y;
}

}  // namespace

TORCH_LIBRARY_IMPL(tiller, CUDA, m) { m.impl("residual_sum", residual_sum_cuda); }

}  // namespace tiller
