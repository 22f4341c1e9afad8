#pragma once
/// Layers as plain structs of their tensors. Where they are given Rows they count their operations
/// there. Inputs lie in the channels-last order where they are images.
#include "models/branch.h"
#include "models/fp8.h"
#include "models/layer_norm.h"
#include "models/packed_conv.h"
#include "models/packed_linear.h"
#include "models/residual.h"
#include "models/weights.h"

namespace tiller {

/// weight: (out, in) or a 1x1 convolution's (out, in, 1[, 1]), which is applied to the last
/// dimension.
struct Linear {
  Tensor weight, bias;
  Fp8Weight fp8 = {};
  PackedLinear packed = {};
  Tensor operator()(const Tensor& x) const;
  Tensor operator()(Rows&, const Tensor& x) const;
};
/// `name` without ".weight". kernel_dims: trailing ones in the weight's shape.
Linear take_linear(Weights&, const std::string& name, int64_t in, int64_t out, bool bias = true,
                   Init init = Init::uniform, int kernel_dims = 0);
/// The same of a layer that runs over all tokens, whose weight is kept in FP8 if Weights say so,
/// and packed where that is faster.
Linear take_token_linear(Weights&, const std::string& name, int64_t in, int64_t out,
                         bool bias = true, Init init = Init::uniform, int kernel_dims = 0);

/// weight: (out, in, k, k).
struct Conv2d {
  Tensor weight, bias;
  int64_t stride = 1, padding = 0;
  PackedConv packed = {};
  Tensor operator()(const Tensor& x) const;
  Tensor operator()(Rows&, const Tensor& x) const;
  /// Without its bias, where adding that takes a kernel of its own.
  Unbiased unbiased(const Tensor& x) const;
  Unbiased unbiased(Rows&, const Tensor& x) const;
};
Conv2d take_conv(Weights&, const std::string& name, int64_t in, int64_t out, int64_t kernel,
                 int64_t stride = 1, Init init = Init::uniform, bool bias = true);

/// Over (R, C, ...).
struct GroupNorm {
  Tensor weight, bias;
  int64_t groups = 32;
  double eps = 1e-5;
  Tensor operator()(const Tensor& x) const;
  /// SiLU(norm(x)), or SiLU(norm(x) * (1 + scale) + shift) with a modulation of scales and shifts
  /// (R, 2C).
  Tensor silu(const Tensor& x, const Tensor& modulation = {}) const;
  Tensor silu(const Unbiased& x, const Tensor& modulation = {}) const;
  /// SiLU(norm(x + added)). added: (R, C).
  Tensor silu_of_sum(const Unbiased& x, const Tensor& added) const;
};
GroupNorm take_group_norm(Weights&, const std::string& name, int64_t channels, int64_t groups = 32,
                          double eps = 1e-5);

LayerNorm take_layer_norm(Weights&, const std::string& name, int64_t channels, double eps = 1e-5);

/// cos and sin of t / 10000^(i / (half - shift)), i < half; (R) to (R, dim) in float32.
/// sin_first: diffusers with flip_sin_to_cos = false.
Tensor timestep_embedding(const Tensor& t, int64_t dim, bool sin_first = false, double shift = 0);

/// (R, C, H, W) to (R, H * W, C) and back. Views where the memory allows.
Tensor to_tokens(const Tensor& x);
Tensor from_tokens(const Tensor& tokens, int64_t height, int64_t width);

/// (R, N, heads * d) to (R, heads, N, d) and back.
Tensor split_heads(const Tensor& x, int64_t heads);
Tensor merge_heads(const Tensor& x);

}  // namespace tiller
