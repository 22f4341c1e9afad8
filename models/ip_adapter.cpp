#include "models/ip_adapter.h"

#include <ATen/ATen.h>

#include "io/error.h"

namespace tiller {

Tensor attend_to_image(Rows& rows, const Site& site, const Tensor& q) {
  const IpAdapter& adapter = *rows.adapter();
  const auto place = static_cast<size_t>(site.order);
  const int64_t heads = q.size(1);
  if (place >= adapter.keys.size() || adapter.keys[place].weight.size(0) != heads * q.size(3))
    throw Error("IP-Adapter: got a network with other cross-attention layers at " + site.path +
                ", expected one of the model's family.");
  const Tensor tokens = rows.gather(&Conditioning::image).to(q.scalar_type());
  const Tensor k = split_heads(adapter.keys[place](rows, tokens), heads);
  const Tensor v = split_heads(adapter.values[place](rows, tokens), heads);
  rows.count(4.0 * q.numel() * k.size(2), q.size(0));
  return adapter.scale * at::scaled_dot_product_attention(q, k, v);
}

}  // namespace tiller
