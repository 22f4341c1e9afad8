#pragma once
/// Half a Sinkhorn round on CUDA's ordinary units, in float32:
///   out_i = -log(sum_j(exp(bias_j - scale <rows_i, columns_j>))).
/// Nothing of the size N x N is stored.
#include <cmath>
#include <cstdint>

#include "guidance/log_sum.cuh"
#include "models/kernels/device_code.cuh"

namespace tiller::kernels {

constexpr int kTile = 64;              // rows and columns of S that a block holds at a time
constexpr int kDepth = 32;             // channels in shared memory at a time
constexpr int kSide = 16;              // a block is kSide x kSide threads
constexpr int kPatch = kTile / kSide;  // each thread holds kPatch x kPatch elements of S
constexpr int kThreads = kSide * kSide;

/// tile[r][c] = x[first + r][channel + c], 0 outside of the (length, channels) matrix x.
template <class T>
__device__ void load_tile(float (*tile)[kDepth + 1], const T* x, int64_t first, int64_t length,
                          int channel, int channels) {
  for (int i = threadIdx.x; i < kTile * kDepth; i += kThreads) {
    const int row = i / kDepth, column = i % kDepth;
    const bool inside = first + row < length && channel + column < channels;
    tile[row][column] =
        inside ? static_cast<float>(x[(first + row) * channels + channel + column]) : 0.f;
  }
}

/// For each plane. rows, columns: (planes, length, channels); bias, out: (planes, length). One
/// block handles kTile rows of one plane; thread (x, y) holds their elements y + kSide * r and x +
/// kSide * c.
template <class T>
__global__ void __launch_bounds__(kThreads)
    sinkhorn_half_step(const T* rows, const T* columns, const float* bias, float* out,
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

}  // namespace tiller::kernels
