#include "metrics/resize.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "io/resample.h"

namespace tiller {
namespace {

/// The last dimension read at i * from / to, between the two pixels beside.
Tensor tf1_columns(const Tensor& x, int64_t to) {
  const int64_t from = x.size(-1);
  if (from == to) return x;
  const float scale = float(from) / float(to);
  std::vector<int64_t> low(to), high(to);
  std::vector<float> share(to);
  for (int64_t i = 0; i < to; ++i) {
    const float at = float(i) * scale;
    low[i] = std::min(int64_t(at), from - 1);
    high[i] = std::min(low[i] + 1, from - 1);
    share[i] = at - float(low[i]);
  }
  const auto indices = [&](const std::vector<int64_t>& i) { return at::tensor(i).to(x.device()); };
  const Tensor a = x.index_select(-1, indices(low)), b = x.index_select(-1, indices(high));
  return a + (b - a) * at::tensor(share).to(x.device());
}

/// (from, to): the weights with which Pillow's antialiased bicubic filter mixes pixels.
Tensor cubic_weights(int64_t from, int64_t to) {
  const Tensor weights = at::zeros({to, from}, at::kDouble);
  auto* row = weights.data_ptr<double>();
  for (const auto& window : cubic_windows(from, to)) {
    std::copy(window.weights.begin(), window.weights.end(), row + window.first);
    row += from;
  }
  return weights.t();
}

/// In float64, as Pillow sums; columns first, rounded to float32 between the two.
Tensor clean_columns(const Tensor& x, int64_t to) {
  if (x.size(-1) == to) return x;
  const Tensor weights = cubic_weights(x.size(-1), to).to(x.device());
  return x.to(at::kDouble).matmul(weights).to(at::kFloat);
}

template <class Columns>
Tensor separable(const Tensor& x, int64_t height, int64_t width, Columns columns) {
  return columns(columns(x, width).transpose(2, 3), height).transpose(2, 3);
}

}  // namespace

Tensor resize_values(const Tensor& images, int64_t height, int64_t width, ResizeRule rule) {
  const Tensor x = images.to(at::kFloat);
  switch (rule) {
    case ResizeRule::bilinear:
      return at::upsample_bilinear2d(x, {height, width}, /*align_corners=*/false);
    case ResizeRule::bicubic:
      return at::upsample_bicubic2d(x, {height, width}, /*align_corners=*/false);
    case ResizeRule::tf1:
      return separable(x, height, width, tf1_columns);
    case ResizeRule::clean:
      return separable(x, height, width, clean_columns).clamp(0, 255);
  }
  return x;
}

}  // namespace tiller
