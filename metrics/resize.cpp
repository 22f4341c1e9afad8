#include "metrics/resize.h"

#include <ATen/ATen.h>

#include <cmath>

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

/// The cubic kernel with a = -0.5.
double cubic(double x) {
  x = std::abs(x);
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? -0.5 * (((x - 5) * x + 8) * x - 4) : 0;
}

/// (from, to): the weights with which Pillow's antialiased bicubic filter mixes pixels.
Tensor cubic_weights(int64_t from, int64_t to) {
  const double scale = double(from) / double(to), stretch = std::max(scale, 1.0);
  const Tensor weights = at::zeros({to, from}, at::kDouble);
  auto* w = weights.data_ptr<double>();
  for (int64_t i = 0; i < to; ++i, w += from) {
    const double center = (double(i) + 0.5) * scale, support = 2 * stretch;
    const int64_t first = std::max<int64_t>(0, int64_t(center - support + 0.5));
    const int64_t end = std::min(from, int64_t(center + support + 0.5));
    double sum = 0;
    for (int64_t x = first; x < end; ++x) sum += w[x] = cubic((double(x) - center + 0.5) / stretch);
    for (int64_t x = first; x < end; ++x) w[x] /= sum;
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
