#pragma once
#include "models/layers.h"

namespace tiller {

/// IP-Adapter (arXiv 2308.06721): a second cross-attention at each site, to tokens of an image.
struct IpAdapter {
  double scale = 1;
  std::vector<Linear> keys, values;  ///< By Site::order; (heads * d, D) without bias.
};

/// What the rows' adapter adds to a site's cross-attention: scale * attention to their images'
/// tokens. q: (R, heads, N, d), to the same shape. Throws Error where the widths don't fit.
Tensor attend_to_image(Rows& rows, const Site& site, const Tensor& q);

}  // namespace tiller
