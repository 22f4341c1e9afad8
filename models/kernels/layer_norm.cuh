#pragma once
/// LayerNorm of a sum on CUDA, a warp a token.
#include <cmath>
#include <cstdint>

#include "models/kernels/device_code.cuh"
#include "models/kernels/pack.cuh"

namespace tiller::kernels {

/// x, term: (tokens, channels); term: null, or what is added to x first. weight, bias: (channels).
template <class T>
struct LayerNormInputs {
  const T *x, *term, *weight, *bias;
  int64_t tokens;
  int channels;
  float eps;
};

__device__ inline float warp_sum(float value) {
  for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(~0u, value, lanes);
  return value;
}

/// sum: x + term, rounded to T, null without a term; y: its norm. Channels are a multiple of
/// `vector`, at most 32 * vector * packs. Block: (32, tokens at a time).
template <class T, int vector, int packs>
__global__ void __launch_bounds__(128) layer_norm_of_sum(LayerNormInputs<T> in, T* sum, T* y) {
  using Values = Pack<T, vector>;
  const int64_t token = int64_t(blockIdx.x) * blockDim.y + threadIdx.y;
  if (token >= in.tokens) return;  // whole warps
  const int64_t at = token * in.channels;
  const auto channel = [&](int i) { return (i * 32 + int(threadIdx.x)) * vector; };
  Values values[packs];
  float total = 0;
#pragma unroll
  for (int i = 0; i < packs; ++i) {
    const int c = channel(i);
    if (c >= in.channels) break;
    values[i] = *reinterpret_cast<const Values*>(in.x + at + c);
    if (in.term) {
      values[i] = added(values[i], *reinterpret_cast<const Values*>(in.term + at + c));
      *reinterpret_cast<Values*>(sum + at + c) = values[i];
    }
#pragma unroll
    for (int v = 0; v < vector; ++v) total += static_cast<float>(values[i].values[v]);
  }
  const float mean = warp_sum(total) / float(in.channels);
  float squares = 0;
#pragma unroll
  for (int i = 0; i < packs; ++i) {
    if (channel(i) >= in.channels) break;
#pragma unroll
    for (int v = 0; v < vector; ++v) {
      const float deviation = static_cast<float>(values[i].values[v]) - mean;
      squares += deviation * deviation;
    }
  }
  const float rstd = 1.f / sqrtf(warp_sum(squares) / float(in.channels) + in.eps);
#pragma unroll
  for (int i = 0; i < packs; ++i) {
    const int c = channel(i);
    if (c >= in.channels) break;
    const Values weight = *reinterpret_cast<const Values*>(in.weight + c);
    const Values bias = *reinterpret_cast<const Values*>(in.bias + c);
#pragma unroll
    for (int v = 0; v < vector; ++v)
      values[i].values[v] = static_cast<T>((static_cast<float>(values[i].values[v]) - mean) * rstd *
                                               static_cast<float>(weight.values[v]) +
                                           static_cast<float>(bias.values[v]));
    *reinterpret_cast<Values*>(y + at + c) = values[i];
  }
}

}  // namespace tiller::kernels
