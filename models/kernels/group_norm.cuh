#pragma once
/// GroupNorm over channels-last images on CUDA: one kernel for the groups' moments, one for
///   y = act(((x + added) - mean) * rstd * weight + bias), modulated or not.
/// Sums are taken around a value of each group, so that a mean far from zero costs no digits, and
/// in a fixed order: the same bits every time.
#include <cmath>
#include <cstdint>

#include "models/kernels/device_code.cuh"
#include "models/kernels/group_norm_shape.h"
#include "models/kernels/pack.cuh"

namespace tiller::kernels {

struct Moments {
  float sum, squares;
};

/// `parameters` are of x's type. modulation: null, or scales and shifts (rows, 2 channels). added:
/// null, or (rows, channels).
template <class T>
struct GroupNormInputs {
  const T *x, *weight, *bias, *modulation, *added;
};

inline size_t moments_shared_bytes(const GroupNormShape& s) {
  return sizeof(Moments) * s.lanes * s.channels;
}

inline size_t apply_shared_bytes(const GroupNormShape& s) {
  return sizeof(float) * 2 * (s.channels + s.groups);
}

template <class T>
__device__ float added_to(const GroupNormInputs<T>& in, int channels, int64_t row, int c) {
  return in.added ? static_cast<float>(in.added[row * channels + c]) : 0.f;
}

/// What the sums of the group of channel c are taken around: its first channel's first pixel.
template <class T>
__device__ float center_of(const GroupNormInputs<T>& in, const GroupNormShape& s, int64_t row,
                           int c) {
  const int size = s.channels / s.groups, first = c / size * size;
  return static_cast<float>(in.x[row * s.pixels * s.channels + first]) +
         added_to(in, s.channels, row, first);
}

/// partial: (rows, chunks, groups). Grid: (chunks, rows).
template <class T, int vector>
__global__ void __launch_bounds__(1024)
    group_moments(GroupNormInputs<T> in, Moments* partial, GroupNormShape s) {
  Moments* const sums = dynamic_shared<Moments>();  // (lanes, channels)
  const int64_t row = blockIdx.y, first = blockIdx.x * s.chunk_pixels;
  const int64_t end = first + s.chunk_pixels < s.pixels ? first + s.chunk_pixels : s.pixels;
  const int c = threadIdx.x * vector;
  float offset[vector], sum[vector] = {}, squares[vector] = {};
  for (int v = 0; v < vector; ++v)
    offset[v] = added_to(in, s.channels, row, c + v) - center_of(in, s, row, c + v);
  const T* const pixels = in.x + row * s.pixels * s.channels + c;
  for (int64_t p = first + threadIdx.y; p < end; p += s.lanes) {
    const auto pack = *reinterpret_cast<const Pack<T, vector>*>(pixels + p * s.channels);
#pragma unroll
    for (int v = 0; v < vector; ++v) {
      const float value = static_cast<float>(pack.values[v]) + offset[v];
      sum[v] += value;
      squares[v] += value * value;
    }
  }
  for (int v = 0; v < vector; ++v) sums[threadIdx.y * s.channels + c + v] = {sum[v], squares[v]};
  __syncthreads();
  const int size = s.channels / s.groups, threads = s.vectors * s.lanes;
  for (int g = threadIdx.y * s.vectors + threadIdx.x; g < s.groups; g += threads) {
    Moments total{};
    for (int lane = 0; lane < s.lanes; ++lane)
      for (int i = 0; i < size; ++i) {
        const Moments& part = sums[lane * s.channels + g * size + i];
        total.sum += part.sum;
        total.squares += part.squares;
      }
    partial[(row * s.chunks + blockIdx.x) * s.groups + g] = total;
  }
}

/// mean and rstd of group g, around zero again.
template <class T>
__device__ void finish_group(const GroupNormInputs<T>& in, const Moments* partial,
                             const GroupNormShape& s, int64_t row, int g, float eps, float& mean,
                             float& rstd) {
  double sum = 0, squares = 0;
  for (int chunk = 0; chunk < s.chunks; ++chunk) {
    const Moments& part = partial[(row * s.chunks + chunk) * s.groups + g];
    sum += part.sum;
    squares += part.squares;
  }
  const int size = s.channels / s.groups;
  const double count = double(s.pixels) * size, shifted = sum / count;
  const double variance = squares / count - shifted * shifted;
  mean = static_cast<float>(shifted) + center_of(in, s, row, g * size);
  rstd = static_cast<float>(1 / sqrt((variance > 0 ? variance : 0) + double(eps)));
}

/// y: as x. Grid and block as before.
template <class T, int vector, bool silu>
__global__ void __launch_bounds__(1024)
    apply_group_norm(GroupNormInputs<T> in, const Moments* partial, T* y, float eps,
                     GroupNormShape s) {
  float* const slope = dynamic_shared<float>();  // (channels)
  float* const intercept = slope + s.channels;   // (channels)
  float* const mean = intercept + s.channels;    // (groups)
  float* const rstd = mean + s.groups;           // (groups)
  const int64_t row = blockIdx.y, first = blockIdx.x * s.chunk_pixels;
  const int64_t end = first + s.chunk_pixels < s.pixels ? first + s.chunk_pixels : s.pixels;
  const int thread = threadIdx.y * s.vectors + threadIdx.x, threads = s.vectors * s.lanes;
  for (int g = thread; g < s.groups; g += threads)
    finish_group(in, partial, s, row, g, eps, mean[g], rstd[g]);
  __syncthreads();
  for (int c = thread; c < s.channels; c += threads) {
    const int g = c / (s.channels / s.groups);
    const T* const modulation = in.modulation ? in.modulation + row * 2 * s.channels : nullptr;
    const float scale = modulation ? 1.f + static_cast<float>(modulation[c]) : 1.f;
    const float shift = modulation ? static_cast<float>(modulation[s.channels + c]) : 0.f;
    slope[c] = rstd[g] * static_cast<float>(in.weight[c]) * scale;
    intercept[c] = static_cast<float>(in.bias[c]) * scale + shift +
                   (added_to(in, s.channels, row, c) - mean[g]) * slope[c];
  }
  __syncthreads();
  const int c = threadIdx.x * vector;
  const int64_t image = row * s.pixels * s.channels;
  float a[vector], b[vector];
  for (int v = 0; v < vector; ++v) {
    a[v] = slope[c + v];
    b[v] = intercept[c + v];
  }
  for (int64_t p = first + threadIdx.y; p < end; p += s.lanes) {
    const int64_t at = image + p * s.channels + c;
    auto pack = *reinterpret_cast<const Pack<T, vector>*>(in.x + at);
#pragma unroll
    for (int v = 0; v < vector; ++v) {
      const float z = static_cast<float>(pack.values[v]) * a[v] + b[v];
      pack.values[v] = static_cast<T>(silu ? z / (1.f + expf(-z)) : z);
    }
    *reinterpret_cast<Pack<T, vector>*>(y + at) = pack;
  }
}

}  // namespace tiller::kernels
