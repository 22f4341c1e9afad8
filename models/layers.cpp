#include "models/layers.h"

#include <ATen/ATen.h>

#include <cmath>

#include "models/gradients.h"
#include "models/group_norm.h"
#include "models/products.h"

namespace tiller {

Tensor Linear::operator()(const Tensor& x) const {
  if (fp8.wanted()) return fp8.linear(x, weight, bias);
  if (const Tensor y = packed(x, weight, bias); y.defined()) return y;
  return linear_of(x, weight.dim() > 2 ? weight.flatten(1) : weight, bias);
}

Tensor Linear::operator()(Rows& rows, const Tensor& x) const {
  rows.count(2.0 * x.numel() * weight.size(0), x.size(0));
  return (*this)(x);
}

Linear take_linear(Weights& weights, const std::string& name, int64_t in, int64_t out, bool bias,
                   Init init, int kernel_dims) {
  std::vector<int64_t> shape = {out, in};
  shape.insert(shape.end(), kernel_dims, 1);
  Linear layer{weights.take(name + ".weight", shape, init), {}};
  if (bias) layer.bias = weights.take(name + ".bias", {out}, init, in);
  return layer;
}

Linear take_token_linear(Weights& weights, const std::string& name, int64_t in, int64_t out,
                         bool bias, Init init, int kernel_dims) {
  Linear layer = take_linear(weights, name, in, out, bias, init, kernel_dims);
  layer.fp8 = Fp8Weight(weights.fp8);
  layer.packed = PackedLinear(true);
  return layer;
}

Tensor Conv2d::operator()(const Tensor& x) const {
  if (const Tensor y = packed(x, weight, bias, stride, padding); y.defined()) return y;
  return conv2d_of(x, weight, bias, stride, padding);
}

Unbiased Conv2d::unbiased(const Tensor& x) const {
  if (!x.is_cuda() || !bias.defined() || wants_gradients({x, weight, bias}))
    return {(*this)(x), {}};
  return {Conv2d{weight, {}, stride, padding, packed}(x), bias};
}

Tensor Conv2d::operator()(Rows& rows, const Tensor& x) const {
  const Tensor y = (*this)(x);
  rows.count(2.0 * y.numel() * weight.numel() / weight.size(0), y.size(0));
  return y;
}

Unbiased Conv2d::unbiased(Rows& rows, const Tensor& x) const {
  Unbiased y = unbiased(x);
  rows.count(2.0 * y.x.numel() * weight.numel() / weight.size(0), y.x.size(0));
  return y;
}

Conv2d take_conv(Weights& weights, const std::string& name, int64_t in, int64_t out, int64_t kernel,
                 int64_t stride, Init init, bool bias) {
  Conv2d layer;
  layer.weight = weights.take(name + ".weight", {out, in, kernel, kernel}, init);
  if (bias) layer.bias = weights.take(name + ".bias", {out}, init, in * kernel * kernel);
  layer.stride = stride;
  layer.padding = kernel / 2;
  return layer;
}

Tensor GroupNorm::operator()(const Tensor& x) const {
  return group_norm(x, weight, bias, {groups, eps});
}

Tensor GroupNorm::silu(const Tensor& x, const Tensor& modulation) const {
  return group_norm(x, weight, bias, {groups, eps, true}, {.modulation = modulation});
}

Tensor GroupNorm::silu(const Unbiased& x, const Tensor& modulation) const {
  return group_norm(x.x, weight, bias, {groups, eps, true},
                    {.modulation = modulation, .offset = x.bias});
}

Tensor GroupNorm::silu_of_sum(const Unbiased& x, const Tensor& added) const {
  return group_norm(x.x, weight, bias, {groups, eps, true}, {.added = added, .offset = x.bias});
}

GroupNorm take_group_norm(Weights& weights, const std::string& name, int64_t channels,
                          int64_t groups, double eps) {
  Tensor weight = weights.take(name + ".weight", {channels}, Init::ones);
  Tensor bias = weights.take(name + ".bias", {channels}, Init::zeros);
  return {std::move(weight), std::move(bias), groups, eps};
}

LayerNorm take_layer_norm(Weights& weights, const std::string& name, int64_t channels, double eps) {
  Tensor weight = weights.take(name + ".weight", {channels}, Init::ones);
  Tensor bias = weights.take(name + ".bias", {channels}, Init::zeros);
  return {std::move(weight), std::move(bias), eps};
}

Tensor timestep_embedding(const Tensor& t, int64_t dim, bool sin_first, double shift) {
  const int64_t half = dim / 2;
  const Tensor i = at::arange(half, at::TensorOptions(at::kFloat).device(t.device()));
  const Tensor frequencies = (-std::log(10000.0) * i / (half - shift)).exp();
  const Tensor angles = t.to(at::kFloat).unsqueeze(1) * frequencies;
  const Tensor embedding = sin_first ? at::cat({angles.sin(), angles.cos()}, 1)
                                     : at::cat({angles.cos(), angles.sin()}, 1);
  return dim % 2 ? at::constant_pad_nd(embedding, {0, 1}) : embedding;
}

Tensor to_tokens(const Tensor& x) { return x.permute({0, 2, 3, 1}).flatten(1, 2); }

Tensor from_tokens(const Tensor& tokens, int64_t height, int64_t width) {
  return tokens.unflatten(1, {height, width}).permute({0, 3, 1, 2});
}

Tensor split_heads(const Tensor& x, int64_t heads) {
  return x.unflatten(2, {heads, -1}).transpose(1, 2);
}

Tensor merge_heads(const Tensor& x) { return x.transpose(1, 2).flatten(2); }

}  // namespace tiller
