#pragma once
#include "models/layers.h"

namespace tiller {

/// A further cross-attention at each site, to tokens of images.
struct ImageAttention {
  double scale = 1;
  int64_t tokens = 0;                ///< L', of all images that it reads.
  std::vector<Linear> keys, values;  ///< By Site::order; (heads * d, D) without bias.
};

/// IP-Adapter (arXiv 2308.06721), one or several: what they read lies side by side, in order, in
/// Conditioning::image.
struct IpAdapter {
  std::vector<ImageAttention> parts;
};

/// What the rows' adapter adds to a site's cross-attention: the sum over its parts of scale *
/// attention to their images' tokens. q: (R, heads, N, d), to the same shape. Throws Error where
/// the widths don't fit.
Tensor attend_to_image(Rows& rows, const Site& site, const Tensor& q);

}  // namespace tiller
