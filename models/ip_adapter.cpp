#include "models/ip_adapter.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "models/attention.h"

namespace tiller {

namespace {

/// tokens: (R, L', D).
Tensor attend(Rows& rows, const Site& site, const ImageAttention& part, const Tensor& q,
              const Tensor& tokens) {
  const auto place = static_cast<size_t>(site.order);
  const int64_t heads = q.size(1);
  if (place >= part.keys.size() || part.keys[place].weight.size(0) != heads * q.size(3))
    throw Error("IP-Adapter: got a network with other cross-attention layers at " + site.path +
                ", expected one of the model's family.");
  const Tensor k = split_heads(part.keys[place](rows, tokens), heads);
  const Tensor v = split_heads(part.values[place](rows, tokens), heads);
  rows.count(4.0 * q.numel() * k.size(2), q.size(0));
  return part.scale * attention(q, k, v);
}

}  // namespace

Tensor attend_to_image(Rows& rows, const Site& site, const Tensor& q) {
  const Tensor tokens = rows.gather(&Conditioning::image).to(q.scalar_type());
  Tensor sum;
  int64_t start = 0;
  for (const ImageAttention& part : rows.adapter()->parts) {
    const Tensor attended = attend(rows, site, part, q, tokens.narrow(1, start, part.tokens));
    sum = sum.defined() ? sum + attended : attended;
    start += part.tokens;
  }
  return sum;
}

}  // namespace tiller
