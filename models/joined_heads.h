#pragma once
#include "models/layers.h"

namespace tiller {

/// Where a layer's 3C outputs hold queries, keys and values.
struct HeadOrder {
  std::vector<int64_t> shape;  ///< Of the outputs: three parts, heads and a head's channels.
  int64_t parts = 0;           ///< Which dimension of `shape` tells q, k and v apart.
};

/// Self-attention's projection by one layer, which is to outlive it. Values alone are a product
/// with a third of the weight; in FP8 they come of the whole.
SelfProjection joined_heads(Rows&, const Linear& qkv, const HeadOrder&);

}  // namespace tiller
