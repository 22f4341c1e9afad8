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

namespace tiller {
namespace {
using at::Tensor;

constexpr int kTile = 64;              // rows and columns of S that a block holds at a time
constexpr int kDepth = 32;             // channels in shared memory at a time
constexpr int kSide = 16;              // a block is kSide x kSide threads
constexpr int kPatch = kTile / kSide;  // each thread holds kPatch x kPatch elements of S
constexpr int kThreads = kSide * kSide;

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

/// tile[r][c] = x[first + r][channel + c], 0 outside of the (length, channels) matrix x.
template <typename scalar_t>
__device__ void load_tile(float (*tile)[kDepth + 1], const scalar_t* x, int64_t first,
                          int64_t length, int channel, int channels) {
  for (int i = threadIdx.x; i < kTile * kDepth; i += kThreads) {
    const int row = i / kDepth, column = i % kDepth;
    const bool inside = first + row < length && channel + column < channels;
    tile[row][column] =
        inside ? static_cast<float>(x[(first + row) * channels + channel + column]) : 0.f;
  }
}

/// out[p][i] = -log(sum_j(exp(bias[p][j] - scale * <rows[p][i], columns[p][j]>))) for each plane p.
/// rows, columns: (planes, length, channels); bias, out: (planes, length). One block handles kTile
/// rows of one plane; thread (x, y) holds their elements y + kSide * r and x + kSide * c.
template <typename scalar_t>
__global__ void __launch_bounds__(kThreads)
    half_step(const scalar_t* rows, const scalar_t* columns, const float* bias, float* out,
              int64_t length, int channels, float scale) {
  __shared__ float row_tile[kTile][kDepth + 1];  // padded: no two rows in one bank
  __shared__ float column_tile[kTile][kDepth + 1];
  const int64_t tiles = (length + kTile - 1) / kTile;
  const int64_t plane = blockIdx.x / tiles;
  const int64_t first_row = blockIdx.x % tiles * kTile;
  const int x = threadIdx.x % kSide, y = threadIdx.x / kSide;
  rows += plane * length * channels;
  columns += plane * length * channels;

  LogSum sums[kPatch];
  for (int64_t first_column = 0; first_column < length; first_column += kTile) {
    float products[kPatch][kPatch] = {};
    for (int channel = 0; channel < channels; channel += kDepth) {
      __syncthreads();
      load_tile(row_tile, rows, first_row, length, channel, channels);
      load_tile(column_tile, columns, first_column, length, channel, channels);
      __syncthreads();
#pragma unroll 8
      for (int depth = 0; depth < kDepth; ++depth)
#pragma unroll
        for (int r = 0; r < kPatch; ++r)
#pragma unroll
          for (int c = 0; c < kPatch; ++c)
            products[r][c] += row_tile[y + kSide * r][depth] * column_tile[x + kSide * c][depth];
    }
#pragma unroll
    for (int c = 0; c < kPatch; ++c) {
      const int64_t column = first_column + x + kSide * c;
      if (column >= length) continue;
      const float column_bias = bias[plane * length + column];
#pragma unroll
      for (int r = 0; r < kPatch; ++r)
        sums[r] = merge(sums[r], {column_bias - scale * products[r][c], 1.f});
    }
  }

#pragma unroll
  for (int r = 0; r < kPatch; ++r) {
    // The threads of one y are kSide neighbours in a warp.
    for (int distance = kSide / 2; distance > 0; distance /= 2)
      sums[r] = merge(sums[r], {__shfl_xor_sync(0xffffffff, sums[r].peak, distance),
                                __shfl_xor_sync(0xffffffff, sums[r].total, distance)});
    const int64_t row = first_row + y + kSide * r;
    if (x == 0 && row < length) out[plane * length + row] = -(sums[r].peak + logf(sums[r].total));
  }
}

template <typename scalar_t>
void launch_half_step(const Tensor& rows, const Tensor& columns, const Tensor& bias,
                      const Tensor& out) {
  const int64_t length = rows.size(2), channels = rows.size(3);
  const int64_t blocks = rows.size(0) * rows.size(1) * ((length + kTile - 1) / kTile);
  TORCH_CHECK(blocks <= INT32_MAX, "sinkhorn_potentials: the input is too large.");
  half_step<scalar_t>
      <<<static_cast<unsigned>(blocks), kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(
          rows.const_data_ptr<scalar_t>(), columns.const_data_ptr<scalar_t>(),
          bias.const_data_ptr<float>(), out.mutable_data_ptr<float>(), length,
          static_cast<int>(channels), 1.f / std::sqrt(static_cast<float>(channels)));
  C10_CUDA_KERNEL_LAUNCH_CHECK();
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
  const auto iterate = [&]<typename scalar_t>(scalar_t) {
    for (int64_t i = 0; i < iterations; ++i) {
      launch_half_step<scalar_t>(rows, columns, g, f);
      launch_half_step<scalar_t>(columns, rows, f, g);
    }
  };
  switch (q.scalar_type()) {
    case at::kFloat:
      iterate(float{});
      break;
    case at::kHalf:
      iterate(at::Half{});
      break;
    case at::kBFloat16:
      iterate(at::BFloat16{});
      break;
    default:
      TORCH_CHECK(false, "sinkhorn_potentials: got ", q.scalar_type(), ".");
  }
  return g;
}

}  // namespace

TORCH_LIBRARY_IMPL(tiller, CUDA, m) { m.impl("sinkhorn_potentials", sinkhorn_potentials_cuda); }

}  // namespace tiller
