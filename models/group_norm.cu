// The op tiller::group_norm on CUDA; its schema and LibTorch reference stand in group_norm.cpp.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "models/kernels/aligned.cuh"
#include "models/kernels/floating_type.h"
#include "models/kernels/group_norm.cuh"

namespace tiller {
namespace {

using at::Tensor;
using kernels::GroupNormInputs;
using kernels::GroupNormShape;
using kernels::Moments;

template <class T, int vector>
void launch(const GroupNormInputs<T>& in, Tensor& y, const GroupNormShape& s, float eps,
            bool silu) {
  const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
  const Tensor partial =
      at::empty({s.rows, s.moments.count, s.groups, 2}, y.options().dtype(at::kFloat));
  auto* const moments = reinterpret_cast<Moments*>(partial.mutable_data_ptr<float>());
  const auto grid = [&](const kernels::Chunks& chunks) {
    return dim3(unsigned(chunks.count), unsigned(s.rows));
  };
  const dim3 block(s.vectors, s.lanes);
  kernels::group_moments<T, vector>
      <<<grid(s.moments), block, kernels::moments_shared_bytes(s), stream>>>(in, moments, s);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  const auto apply = silu ? kernels::apply_group_norm<T, vector, true>
                          : kernels::apply_group_norm<T, vector, false>;
  apply<<<grid(s.apply), block, kernels::apply_shared_bytes(s), stream>>>(
      in, moments, y.mutable_data_ptr<T>(), eps, s);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

template <class T>
const T* data_of(const std::optional<Tensor>& x) {
  return x ? x->const_data_ptr<T>() : nullptr;
}

/// All of one type and contiguous, x in the channels-last order.
struct Inputs {
  Tensor x, weight, bias;
  std::optional<Tensor> modulation, added, offset;
};

template <class T>
void launch(const Inputs& inputs, Tensor& y, int64_t groups, float eps, bool silu) {
  constexpr int kVector = kernels::kPackBytes / sizeof(T);
  const Tensor& x = inputs.x;
  const GroupNormInputs<T> in{x.const_data_ptr<T>(),           inputs.weight.const_data_ptr<T>(),
                              inputs.bias.const_data_ptr<T>(), data_of<T>(inputs.modulation),
                              data_of<T>(inputs.added),        data_of<T>(inputs.offset)};
  launch<T, kVector>(
      in, y,
      kernels::group_norm_shape(x.size(0), x.size(2) * x.size(3), x.size(1), groups, kVector), eps,
      silu);
}

Tensor group_norm_cuda(const Tensor& x, const Tensor& weight, const Tensor& bias,
                       const std::optional<Tensor>& modulation, const std::optional<Tensor>& added,
                       const std::optional<Tensor>& offset, int64_t groups, double eps, bool silu) {
  TORCH_CHECK(
      x.dim() == 4 && x.numel() > 0 && kernels::group_norm_fits(x.size(0), x.size(1), groups),
      "group_norm: got ", x.sizes(), " in ", groups, " groups, not what the kernel takes.");
  const int64_t rows = x.size(0), channels = x.size(1);
  TORCH_CHECK(weight.numel() == channels && bias.numel() == channels &&
                  (!modulation || modulation->sizes() == at::IntArrayRef({rows, 2 * channels})) &&
                  (!added || added->sizes() == at::IntArrayRef({rows, channels})) &&
                  (!offset || offset->numel() == channels),
              "group_norm: parameters or terms don't fit ", x.sizes(), ".");
  const c10::cuda::CUDAGuard guard(x.device());
  const auto plain = [&](const std::optional<Tensor>& t) -> std::optional<Tensor> {
    return t ? std::optional(t->to(x.scalar_type()).contiguous()) : std::nullopt;
  };
  const Inputs inputs{kernels::aligned(x.contiguous(at::MemoryFormat::ChannelsLast)),
                      *plain(weight),
                      *plain(bias),
                      plain(modulation),
                      plain(added),
                      plain(offset)};
  Tensor y = at::empty_like(inputs.x, inputs.x.options(), at::MemoryFormat::ChannelsLast);
  kernels::with_floating_type(x.scalar_type(), "group_norm",
                              [&]<class T>(T) { launch<T>(inputs, y, groups, float(eps), silu); });
  return y;
}

}  // namespace

TORCH_LIBRARY_IMPL(tiller, CUDA, m) { m.impl("group_norm", group_norm_cuda); }

}  // namespace tiller
