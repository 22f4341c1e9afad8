#include "models/joined_heads.h"

#include <ATen/ATen.h>

#include "models/products.h"

namespace tiller {
namespace {

constexpr int64_t kValues = 2;

Heads parted(const Tensor& joined, const HeadOrder& order) {
  Tensor parts = joined.unflatten(2, order.shape).movedim(2 + order.parts, 0).transpose(2, 3);
  if (parts.stride(-1) != 1) parts = parts.contiguous();
  return {parts[0], parts[1], parts[kValues]};
}

Tensor values_alone(Rows& rows, const Linear& qkv, const HeadOrder& order, const Tensor& tokens) {
  if (qkv.fp8.wanted()) return parted(qkv(rows, tokens), order).v;
  const auto part = [&](const Tensor& all) {
    return all.unflatten(0, order.shape).select(order.parts, kValues);
  };
  const Tensor weight = part(qkv.weight.flatten(1)), bias = part(qkv.bias);
  rows.count(2.0 * tokens.numel() * bias.numel(), tokens.size(0));
  return split_heads(linear_of(tokens, weight.flatten(0, 1), bias.flatten()), bias.size(0));
}

}  // namespace

SelfProjection joined_heads(Rows& rows, const Linear& qkv, const HeadOrder& order) {
  return {[&rows, &qkv, order](const Tensor& tokens) { return parted(qkv(rows, tokens), order); },
          [&rows, &qkv, order](const Tensor& tokens) {
            return values_alone(rows, qkv, order, tokens);
          }};
}

}  // namespace tiller
