#pragma once
/// Half a Sinkhorn round on CUDA's tensor cores, for rows and columns of half or bfloat16:
///   out_i = -log(sum_j(exp(bias_j - scale <rows_i, columns_j>))),
/// products and sums in float32. Nothing of the size N x N is stored.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "guidance/log_sum.cuh"
#include "models/kernels/device_code.cuh"
#include "models/kernels/pack.cuh"

namespace tiller::kernels {

constexpr int kWarpRows = 16, kWarps = 4;
constexpr int kBlockRows = kWarpRows * kWarps;  // rows of S that a block holds
constexpr int kBlockColumns = 64;               // columns of S that it holds at a time
constexpr int kStripes = kBlockColumns / 8;     // of 8 columns, as the tensor cores take them
constexpr int kStepChannels = 16;               // that one product of theirs sums over
constexpr int kLanes = 32;
constexpr float kLn2 = 0.6931471805599453f;

/// Two channels, channel being even; 0 outside of the (length, channels) matrix x.
template <class T>
__device__ uint32_t load_pair(const T* x, int64_t row, int64_t length, int channel, int channels) {
  T pair[2] = {T(0.f), T(0.f)};
  for (int i = 0; i < 2; ++i)
    if (row < length && channel + i < channels) pair[i] = x[row * channels + channel + i];
  uint32_t word;
  memcpy(&word, pair, sizeof word);
  return word;
}

/// tile: (kBlockColumns, stride words) of columns first, first + 1, ..., zeros outside. packed:
/// whether channels are a multiple of 8 and x may be read 16 bytes at a time.
template <class T, int steps>
__device__ void load_columns(uint32_t* tile, int stride, const T* x, int64_t first, int64_t length,
                             int channels, bool packed) {
  constexpr int kPacks = steps * kStepChannels / 8;
  for (int i = threadIdx.x; i < kBlockColumns * kPacks; i += kWarps * kLanes) {
    const int row = i / kPacks, channel = i % kPacks * 8;
    Pack<uint32_t, 4> pack{};
    if (packed && first + row < length && channel < channels)
      pack = *reinterpret_cast<const Pack<uint32_t, 4>*>(x + (first + row) * channels + channel);
    else if (!packed)
      for (int w = 0; w < 4; ++w)
        pack.values[w] = load_pair(x, first + row, length, channel + 2 * w, channels);
    *reinterpret_cast<Pack<uint32_t, 4>*>(tile + row * stride + channel / 2) = pack;
  }
}

/// A warp's 16 rows as the products' left operands. See the PTX manual, mma.m16n8k16.
template <class T, int steps>
__device__ void load_rows(uint32_t (&fragments)[steps][4], const T* x, int64_t first,
                          int64_t length, int channels, int lane) {
#pragma unroll
  for (int step = 0; step < steps; ++step)
#pragma unroll
    for (int i = 0; i < 4; ++i)
      fragments[step][i] = load_pair(x, first + lane / 4 + i % 2 * 8, length,
                                     step * kStepChannels + lane % 4 * 2 + i / 2 * 8, channels);
}

/// Adds 2^values to a sum.
__device__ inline void add_powers(LogSum& sum, const float (&values)[2 * kStripes]) {
  float peak = sum.peak;
#pragma unroll
  for (const float value : values) peak = fmaxf(peak, value);
  if (peak == -INFINITY) return;
  float total = sum.total * fast_exp2(sum.peak - peak);
#pragma unroll
  for (const float value : values) total += fast_exp2(value - peak);
  sum = {peak, total};
}

/// The same sum in base 2, of what the four lanes of a row have.
__device__ inline LogSum merged_over_lanes(LogSum sum) {
  for (int distance = 1; distance < 4; distance *= 2) {
    const LogSum other = {__shfl_xor_sync(0xffffffff, sum.peak, distance),
                          __shfl_xor_sync(0xffffffff, sum.total, distance)};
    const float peak = fmaxf(sum.peak, other.peak);
    if (peak == -INFINITY) continue;
    sum = {peak,
           sum.total * fast_exp2(sum.peak - peak) + other.total * fast_exp2(other.peak - peak)};
  }
  return sum;
}

/// Words of a row of a tile: no two of 8 rows begin in one bank.
template <int steps>
constexpr int kColumnStride = kStepChannels / 2 * steps + 4;

template <int steps>
constexpr size_t columns_shared_bytes() {
  return sizeof(uint32_t) * kBlockColumns * kColumnStride<steps>;
}

/// For each plane: rows, columns (planes, length, channels), channels <= 16 steps; bias, out
/// (planes, length). One block takes kBlockRows rows of one plane, 16 a warp; a lane holds two
/// columns of every 8 in rows lane / 4 and lane / 4 + 8. Logits are in base 2.
template <class T, bool bfloat16, int steps>
__global__ void __launch_bounds__(kWarps* kLanes)
    sinkhorn_half_step_on_tensor_cores(const T* rows, const T* columns, const float* bias,
                                       float* out, int64_t length, int channels, float scale,
                                       bool packed) {
  constexpr int kStride = kColumnStride<steps>;
  uint32_t* const tile = dynamic_shared<uint32_t>();
  const int64_t blocks = (length + kBlockRows - 1) / kBlockRows;
  const int64_t plane = blockIdx.x / blocks;
  const int lane = threadIdx.x % kLanes;
  const int64_t first_row = blockIdx.x % blocks * kBlockRows + threadIdx.x / kLanes * kWarpRows;
  columns += plane * length * channels;
  bias += plane * length;
  uint32_t own[steps][4];
  load_rows<T, steps>(own, rows + plane * length * channels, first_row, length, channels, lane);

  LogSum sums[2];
  for (int64_t first = 0; first < length; first += kBlockColumns) {
    __syncthreads();
    load_columns<T, steps>(tile, kStride, columns, first, length, channels, packed);
    __syncthreads();
    float logits[2][2 * kStripes];
#pragma unroll
    for (int stripe = 0; stripe < kStripes; ++stripe) {
      float product[4] = {};
      const uint32_t* const column = tile + (stripe * 8 + lane / 4) * kStride + lane % 4;
#pragma unroll
      for (int step = 0; step < steps; ++step) {
        const uint32_t other[2] = {column[step * 8], column[step * 8 + 4]};
        multiply_add_16x8x16<bfloat16>(product, own[step], other);
      }
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        const int64_t j = first + stripe * 8 + lane % 4 * 2 + c;
        const float shift = j < length ? bias[j] : -INFINITY;
        for (int r = 0; r < 2; ++r)
          logits[r][2 * stripe + c] = (shift - scale * product[2 * r + c]) * kLog2E;
      }
    }
    add_powers(sums[0], logits[0]);
    add_powers(sums[1], logits[1]);
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const LogSum sum = merged_over_lanes(sums[r]);
    const int64_t row = first_row + lane / 4 + 8 * r;
    if (lane % 4 == 0 && row < length)
      out[plane * length + row] = -kLn2 * (sum.peak + log2f(sum.total));
  }
}

}  // namespace tiller::kernels
