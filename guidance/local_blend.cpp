#include "guidance/local_blend.h"

#include <ATen/ATen.h>

namespace tiller {

Tensor word_region(const Tensor& map, double threshold) {
  const auto radius = [&](int64_t dim) { return std::max<int64_t>(1, map.size(dim) / 16); };
  const int64_t down = radius(0), across = radius(1);
  const Tensor widened = at::max_pool2d(
      map.unsqueeze(0).unsqueeze(0), {2 * down + 1, 2 * across + 1}, {1, 1}, {down, across})[0][0];
  return widened > threshold * widened.max();
}

Tensor blended(const Tensor& sample, const Tensor& region) {
  const int64_t pairs = sample.size(0) / 2;
  const Tensor sources = sample.narrow(0, 0, pairs);
  return at::cat({sources, at::where(region, sample.narrow(0, pairs, pairs), sources)});
}

}  // namespace tiller
