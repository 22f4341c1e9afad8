#include "models/ip_adapter.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "models/attention.h"

namespace tiller {

namespace {

/// first: where the part's tokens begin among all image tokens.
Tensor attend(Rows& rows, const Site& site, const ImageAttention& part, const Tensor& q,
              int64_t first) {
  const auto place = static_cast<size_t>(site.order);
  const int64_t heads = q.size(1);
  if (place >= part.keys.size() || part.keys[place].weight.size(0) != heads * q.size(3))
    throw Error("IP-Adapter: got a network with other cross-attention layers at " + site.path +
                ", expected one of the model's family.");
  const PromptHeads image = rows.prompt_heads(&Conditioning::image, &part.keys[place], [&] {
    const Tensor all = rows.gather(&Conditioning::image).to(q.scalar_type());
    const Tensor tokens = all.narrow(1, first, part.tokens);
    return PromptHeads{split_heads(part.keys[place](rows, tokens), heads),
                       split_heads(part.values[place](rows, tokens), heads)};
  });
  rows.count(4.0 * q.numel() * image.k.size(2), q.size(0));
  return part.scale * attention(q, image.k, image.v);
}

}  // namespace

Tensor attend_to_image(Rows& rows, const Site& site, const Tensor& q) {
  Tensor sum;
  int64_t start = 0;
  for (const ImageAttention& part : rows.adapter()->parts) {
    const Tensor attended = attend(rows, site, part, q, start);
    sum = sum.defined() ? sum + attended : attended;
    start += part.tokens;
  }
  return sum;
}

}  // namespace tiller
