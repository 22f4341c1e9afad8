#pragma once
/// GroupNorm over channels-last images on CUDA: one kernel for the groups' moments, one for
///   y = act(((x + added + offset) - mean) * rstd * weight + bias), modulated or not.
/// Sums are taken around a value of each group, so that a mean far from zero costs no digits, and
/// in a fixed order: the same bits every time.
#include <cmath>
#include <cstdint>

#include "models/kernels/activations.cuh"
#include "models/kernels/device_code.cuh"
#include "models/kernels/group_norm_shape.h"
#include "models/kernels/pack.cuh"

namespace tiller::kernels {

struct Moments {
  float sum, squares;
  __device__ void add(const Moments& other) {
    sum += other.sum;
    squares += other.squares;
  }
};

/// `parameters` are of x's type. modulation: null, or scales and shifts (rows, 2 channels). added:
/// null, or (rows, channels). offset: null, or (channels).
template <class T>
struct GroupNormInputs {
  const T *x, *weight, *bias, *modulation, *added, *offset;
};

inline size_t moments_shared_bytes(const GroupNormShape& s) {
  return sizeof(Moments) * (s.lanes * s.channels + s.parts * s.groups);
}

inline size_t apply_shared_bytes(const GroupNormShape& s) {
  return sizeof(double) * 2 * s.parts * s.groups + sizeof(float) * 2 * (s.channels + s.groups);
}

template <class T>
__device__ float added_to(const GroupNormInputs<T>& in, int channels, int64_t row, int c) {
  const float added = in.added ? static_cast<float>(in.added[row * channels + c]) : 0.f;
  return in.offset ? added + static_cast<float>(in.offset[c]) : added;
}

/// What the sums of the group of channel c are taken around: its first channel's first pixel.
template <class T>
__device__ float center_of(const GroupNormInputs<T>& in, const GroupNormShape& s, int64_t row,
                           int c) {
  const int size = s.channels / s.groups, first = c / size * size;
  return static_cast<float>(in.x[row * s.pixels * s.channels + first]) +
         added_to(in, s.channels, row, first);
}

__device__ inline int thread_of(const GroupNormShape& s) {
  return int(threadIdx.y) * s.vectors + int(threadIdx.x);
}

/// Calls f(pixel, pack) for this thread's pixels of a block's chunk, of which it reads `ahead`
/// before it works on the first.
template <class T, int vector, int ahead, class F>
__device__ void each_pixel(const T* image, const GroupNormShape& s, const Chunks& chunks,
                           const F& f) {
  using Values = Pack<T, vector>;
  const int64_t begin = blockIdx.x * chunks.pixels;
  const int64_t end = begin + chunks.pixels < s.pixels ? begin + chunks.pixels : s.pixels;
  const T* const from = image + int64_t(threadIdx.x) * vector;
  for (int64_t p = begin + threadIdx.y; p < end; p += ahead * s.lanes) {
    Values packs[ahead];
#pragma unroll
    for (int i = 0; i < ahead; ++i)
      if (p + i * s.lanes < end)
        packs[i] = *reinterpret_cast<const Values*>(from + (p + i * s.lanes) * s.channels);
#pragma unroll
    for (int i = 0; i < ahead; ++i)
      if (p + i * s.lanes < end) f(p + i * s.lanes, packs[i]);
  }
}

/// Where channel c's sums lie among a lane's: those that threads write at once side by side.
__device__ inline int place_of(const GroupNormShape& s, int vector, int c) {
  return c % vector * s.vectors + c / vector;
}

/// The sums of every lane and channel to those of groups: over the lanes, then over a part of each
/// group's channels, then over its parts.
__device__ inline void add_up(const GroupNormShape& s, int vector, Moments* sums, Moments* of_parts,
                              Moments* of_groups) {
  const int threads = s.threads, thread = thread_of(s), size = s.channels / s.groups;
  for (int c = thread; c < s.channels; c += threads) {
    Moments total{};
    for (int lane = 0; lane < s.lanes; ++lane) total.add(sums[lane * s.channels + c]);
    sums[c] = total;
  }
  __syncthreads();
  for (int i = thread; i < s.parts * s.groups; i += threads) {
    const int g = i / s.parts;
    Moments total{};
    for (int c = g * size + i % s.parts; c < (g + 1) * size; c += s.parts)
      total.add(sums[place_of(s, vector, c)]);
    of_parts[i] = total;
  }
  __syncthreads();
  for (int g = thread; g < s.groups; g += threads) {
    Moments total{};
    for (int part = 0; part < s.parts; ++part) total.add(of_parts[g * s.parts + part]);
    of_groups[g] = total;
  }
}

/// partial: (rows, chunks, groups). Grid: (chunks, rows).
template <class T, int vector>
__global__ void __launch_bounds__(1024)
    group_moments(GroupNormInputs<T> in, Moments* partial, GroupNormShape s) {
  Moments* const sums = dynamic_shared<Moments>();  // (lanes, channels)
  const int64_t row = blockIdx.y;
  const int c = threadIdx.x * vector;
  float offset[vector], sum[vector] = {}, squares[vector] = {};
  for (int v = 0; v < vector; ++v)
    offset[v] = added_to(in, s.channels, row, c + v) - center_of(in, s, row, c + v);
  each_pixel<T, vector, 4>(in.x + row * s.pixels * s.channels, s, s.moments,
                           [&](int64_t, const Pack<T, vector>& pack) {
#pragma unroll
                             for (int v = 0; v < vector; ++v) {
                               const float value = static_cast<float>(pack.values[v]) + offset[v];
                               sum[v] += value;
                               squares[v] += value * value;
                             }
                           });
  for (int v = 0; v < vector; ++v)
    sums[threadIdx.y * s.channels + v * s.vectors + threadIdx.x] = {sum[v], squares[v]};
  __syncthreads();
  add_up(s, vector, sums, sums + s.lanes * s.channels,
         partial + (row * s.moments.count + blockIdx.x) * s.groups);
}

/// mean and rstd of a row's groups, around zero again. sums: (parts, groups, 2).
template <class T>
__device__ void finish_groups(const GroupNormInputs<T>& in, const Moments* partial,
                              const GroupNormShape& s, float eps, double* sums, float* mean,
                              float* rstd) {
  const int threads = s.threads, thread = thread_of(s), size = s.channels / s.groups;
  const int64_t row = blockIdx.y;
  const Moments* const of_row = partial + row * s.moments.count * s.groups;
  for (int i = thread; i < s.parts * s.groups; i += threads) {
    double sum = 0, squares = 0;
    for (int chunk = i / s.groups; chunk < s.moments.count; chunk += s.parts) {
      const Moments part = of_row[chunk * s.groups + i % s.groups];
      sum += part.sum;
      squares += part.squares;
    }
    sums[2 * i] = sum;
    sums[2 * i + 1] = squares;
  }
  __syncthreads();
  for (int g = thread; g < s.groups; g += threads) {
    double sum = 0, squares = 0;
    for (int part = 0; part < s.parts; ++part) {
      sum += sums[2 * (part * s.groups + g)];
      squares += sums[2 * (part * s.groups + g) + 1];
    }
    const double count = double(s.pixels) * size, shifted = sum / count;
    const double variance = squares / count - shifted * shifted;
    mean[g] = static_cast<float>(shifted) + center_of(in, s, row, g * size);
    rstd[g] = static_cast<float>(1 / sqrt((variance > 0 ? variance : 0) + double(eps)));
  }
  __syncthreads();
}

/// y: as x. Block as before; grid: (chunks, rows), of chunks of its own.
template <class T, int vector, bool silu>
__global__ void __launch_bounds__(1024)
    apply_group_norm(GroupNormInputs<T> in, const Moments* partial, T* y, float eps,
                     GroupNormShape s) {
  double* const sums = dynamic_shared<double>();  // (parts, groups, 2)
  float* const slope = reinterpret_cast<float*>(sums + 2 * s.parts * s.groups);  // (channels)
  float* const intercept = slope + s.channels;                                   // (channels)
  float* const mean = intercept + s.channels;                                    // (groups)
  float* const rstd = mean + s.groups;                                           // (groups)
  const int64_t row = blockIdx.y, image = row * s.pixels * s.channels;
  finish_groups(in, partial, s, eps, sums, mean, rstd);
  for (int c = thread_of(s); c < s.channels; c += s.threads) {
    const int g = c / (s.channels / s.groups);
    const T* const modulation = in.modulation ? in.modulation + row * 2 * s.channels : nullptr;
    const float scale = modulation ? 1.f + static_cast<float>(modulation[c]) : 1.f;
    const float shift = modulation ? static_cast<float>(modulation[s.channels + c]) : 0.f;
    slope[c] = rstd[g] * static_cast<float>(in.weight[c]) * scale;
    intercept[c] = static_cast<float>(in.bias[c]) * scale + shift +
                   (added_to(in, s.channels, row, c) - mean[g]) * slope[c];
  }
  __syncthreads();
  using Four = Pack<float, 4>;
  const int c = threadIdx.x * vector;
  Four a[vector / 4], b[vector / 4];
#pragma unroll
  for (int i = 0; i < vector / 4; ++i) {
    a[i] = reinterpret_cast<const Four*>(slope + c)[i];
    b[i] = reinterpret_cast<const Four*>(intercept + c)[i];
  }
  each_pixel<T, vector, 2>(in.x + image, s, s.apply, [&](int64_t p, Pack<T, vector>& pack) {
#pragma unroll
    for (int v = 0; v < vector; ++v) {
      const float z =
          static_cast<float>(pack.values[v]) * a[v / 4].values[v % 4] + b[v / 4].values[v % 4];
      pack.values[v] = static_cast<T>(silu ? z * sigmoid<T>(z) : z);
    }
    *reinterpret_cast<Pack<T, vector>*>(y + image + p * s.channels + c) = pack;
  });
}

}  // namespace tiller::kernels
