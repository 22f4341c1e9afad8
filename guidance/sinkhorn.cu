// Sinkhorn potentials on CUDA: the op tiller::sinkhorn_potentials, whose schema and LibTorch
// reference stand in sinkhorn.cpp.
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "guidance/sinkhorn_float.cuh"
#include "guidance/sinkhorn_half.cuh"

namespace tiller {
namespace {
using at::Tensor;

/// One dimension of blocks, so many for each plane.
unsigned grid_of(const Tensor& x, int64_t rows_a_block) {
  const int64_t blocks = x.size(0) * x.size(1) * ((x.size(2) + rows_a_block - 1) / rows_a_block);
  TORCH_CHECK(blocks <= INT32_MAX, "sinkhorn_potentials: the input is too large.");
  return static_cast<unsigned>(blocks);
}

float scale_of(const Tensor& x) { return 1.f / std::sqrt(static_cast<float>(x.size(3))); }

template <class T>
void half_step(const Tensor& rows, const Tensor& columns, const Tensor& bias, const Tensor& out) {
  kernels::sinkhorn_half_step<T>
      <<<grid_of(rows, kernels::kTile), kernels::kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(
          rows.const_data_ptr<T>(), columns.const_data_ptr<T>(), bias.const_data_ptr<float>(),
          out.mutable_data_ptr<float>(), rows.size(2), static_cast<int>(rows.size(3)),
          scale_of(rows));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

bool readable_in_packs(const Tensor& x) {
  return x.size(3) % 8 == 0 && reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0;
}

template <class T, int steps>
void half_step_on_tensor_cores(const Tensor& rows, const Tensor& columns, const Tensor& bias,
                               const Tensor& out) {
  constexpr bool kBFloat16 = std::is_same_v<T, at::BFloat16>;
  kernels::sinkhorn_half_step_on_tensor_cores<T, kBFloat16, steps>
      <<<grid_of(rows, kernels::kBlockRows), kernels::kWarps * kernels::kLanes,
         kernels::columns_shared_bytes<steps>(), c10::cuda::getCurrentCUDAStream()>>>(
          rows.const_data_ptr<T>(), columns.const_data_ptr<T>(), bias.const_data_ptr<float>(),
          out.mutable_data_ptr<float>(), rows.size(2), static_cast<int>(rows.size(3)),
          scale_of(rows), readable_in_packs(columns));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

using HalfStep = void (*)(const Tensor& rows, const Tensor& columns, const Tensor& bias,
                          const Tensor& out);

/// The least number of channels, of those compiled, that holds these.
template <class T>
HalfStep half_step_for(int64_t channels) {
  if (channels <= 32) return half_step_on_tensor_cores<T, 2>;
  if (channels <= 48) return half_step_on_tensor_cores<T, 3>;
  if (channels <= 64) return half_step_on_tensor_cores<T, 4>;
  if (channels <= 80) return half_step_on_tensor_cores<T, 5>;
  if (channels <= 128) return half_step_on_tensor_cores<T, 8>;
  if (channels <= 160) return half_step_on_tensor_cores<T, 10>;
  if (channels <= 256) return half_step_on_tensor_cores<T, 16>;
  return half_step<T>;
}

HalfStep half_step_for(const Tensor& x) {
  switch (x.scalar_type()) {
    case at::kFloat:
      return half_step<float>;
    case at::kHalf:
      return half_step_for<at::Half>(x.size(3));
    case at::kBFloat16:
      return half_step_for<at::BFloat16>(x.size(3));
    default:
      TORCH_CHECK(false, "sinkhorn_potentials: got ", x.scalar_type(), ".");
  }
}

void check_inputs(const Tensor& q, const Tensor& k, int64_t iterations) {
  TORCH_CHECK(q.dim() == 4 && q.sizes() == k.sizes(), "sinkhorn_potentials: got q ", q.sizes(),
              " and k ", k.sizes(), ", expected the same (B, H, N, d).");
  TORCH_CHECK(q.device() == k.device() && q.scalar_type() == k.scalar_type(),
              "sinkhorn_potentials: q and k differ in device or dtype.");
  TORCH_CHECK(iterations >= 0, "sinkhorn_potentials: got ", iterations, " iterations.");
}

/// O(N) memory: S is never stored. q, k: (B, H, N, d) of any floating type; returns g,
/// (B, H, N) in float32. All arithmetic is in float32, float64's too.
Tensor sinkhorn_potentials_cuda(const Tensor& q, const Tensor& k, int64_t iterations) {
  check_inputs(q, k, iterations);
  const c10::cuda::CUDAGuard guard(q.device());
  if (q.scalar_type() == at::kDouble)
    return sinkhorn_potentials_cuda(q.to(at::kFloat), k.to(at::kFloat), iterations);
  const Tensor rows = q.contiguous(), columns = k.contiguous();
  const at::TensorOptions options = q.options().dtype(at::kFloat);
  Tensor g = at::zeros({q.size(0), q.size(1), q.size(2)}, options);
  if (g.numel() == 0) return g;
  Tensor f = at::empty_like(g);
  const HalfStep half_step = half_step_for(q);
  for (int64_t i = 0; i < iterations; ++i) {
    half_step(rows, columns, g, f);
    half_step(columns, rows, f, g);
  }
  return g;
}

}  // namespace

TORCH_LIBRARY_IMPL(tiller, CUDA, m) { m.impl("sinkhorn_potentials", sinkhorn_potentials_cuda); }

}  // namespace tiller
