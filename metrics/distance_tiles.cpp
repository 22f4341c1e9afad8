#include "metrics/distance_tiles.h"

#include <ATen/ATen.h>

namespace tiller {
namespace {

/// Of squared norms: what is nearer is the same, which rounding would hide.
constexpr double same = 1e-12;

struct TileRows {
  Tensor x, norms;  ///< (R, D) float64, (R, 1).
};

TileRows rows_of(const Tensor& features, int64_t begin, int64_t side, const Tensor& origin) {
  const Tensor x = features.slice(0, begin, begin + side).to(at::kDouble) - origin;
  return {x, x.square().sum(1, true)};
}

}  // namespace

void for_each_distance_tile(
    const Tensor& a, const Tensor& b,
    const std::function<void(const Tensor& squared, int64_t row, int64_t column)>& use,
    int64_t side) {
  // Around their middle the features are smaller, and so is what rounds off.
  const Tensor origin = b.slice(0, 0, side).to(at::kDouble).mean(0);
  for (int64_t row = 0; row < a.size(0); row += side) {
    const TileRows x = rows_of(a, row, side, origin);
    for (int64_t column = 0; column < b.size(0); column += side) {
      const TileRows y = rows_of(b, column, side, origin);
      Tensor squared = at::addmm(y.norms.t(), x.x, y.x.t(), 1, -2).add_(x.norms);
      squared.masked_fill_(squared < same * x.norms, 0).clamp_min_(0);
      use(squared, row, column);
    }
  }
}

}  // namespace tiller
