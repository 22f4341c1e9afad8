#include "guidance/filter.h"

#include <ATen/ATen.h>

#include "models/sent.h"

namespace tiller {

Tensor gaussian_taps(int64_t width, double sigma) {
  const Tensor offsets = at::arange(width, at::kDouble) - double(width / 2);
  const Tensor taps = (-0.5 * (offsets / sigma).square()).exp();
  return taps / taps.sum();
}

Tensor line_filter(int64_t size, const Tensor& taps) {
  const int64_t radius = taps.size(0) / 2;
  const Tensor offsets = at::arange(-radius, radius + 1, at::kDouble);
  const Tensor position = (at::arange(size, at::kDouble).unsqueeze(1) + offsets).abs();
  const Tensor source = (size - 1 - (size - 1 - position).abs()).to(at::kLong);
  const Tensor weights = taps.to(at::kFloat).expand(source.sizes()).contiguous();
  return at::zeros({size, size}).scatter_add_(1, source, weights);
}

Tensor filtered(const Tensor& x, const Tensor& taps) {
  const Tensor rows = sent(line_filter(x.size(-2), taps), x.device());
  const Tensor columns = sent(line_filter(x.size(-1), taps), x.device());
  return at::matmul(at::matmul(rows, x), columns.t());
}

}  // namespace tiller
