#include "models/tiling.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "io/error.h"

namespace tiller {
namespace {

/// The tile with its first `extent` rows (dim 2) or columns (dim 3) mixed with the last of the tile
/// before it.
Tensor blend(const Tensor& before, const Tensor& tile, int64_t dim, int64_t extent) {
  extent = std::min({before.size(dim), tile.size(dim), extent});
  if (!extent) return tile;
  std::vector<int64_t> shape(4, 1);
  shape[static_cast<size_t>(dim)] = extent;
  const Tensor weight = (at::arange(extent, tile.options()) / extent).view(shape);
  const Tensor tail = before.narrow(dim, before.size(dim) - extent, extent);
  const Tensor mixed = tail * (1 - weight) + tile.narrow(dim, 0, extent) * weight;
  return at::cat({mixed, tile.narrow(dim, extent, tile.size(dim) - extent)}, dim);
}

}  // namespace

TileGrid tile_grid(int64_t tile, double overlap, int64_t up, int64_t down) {
  if (!(overlap >= 0 && overlap < 1) || tile < 2 * down)
    throw Error("VAE tiling: got tiles of " + std::to_string(tile) + " with an overlap of " +
                std::to_string(overlap) + ", expected at least " + std::to_string(2 * down) +
                " and 0 to below 1.");
  const int64_t cells = tile / down;
  const auto wished = static_cast<int64_t>(std::floor(static_cast<double>(cells) * overlap));
  const int64_t shared = std::min(wished, cells - 1);
  return {cells * down, (cells - shared) * down, shared * up, (cells - shared) * up};
}

Tensor run_tiled(const Tensor& x, const TileGrid& grid,
                 const std::function<Tensor(const Tensor&)>& run) {
  std::vector<Tensor> above, strips;
  for (int64_t i = 0; i < x.size(2); i += grid.stride) {
    std::vector<Tensor> row, kept;
    for (int64_t j = 0; j < x.size(3); j += grid.stride) {
      Tensor tile = run(x.slice(2, i, i + grid.tile).slice(3, j, j + grid.tile));
      if (i) tile = blend(above[row.size()], tile, 2, grid.blend);
      if (j) tile = blend(row.back(), tile, 3, grid.blend);
      row.push_back(tile);
      kept.push_back(tile.slice(2, 0, grid.keep).slice(3, 0, grid.keep));
    }
    strips.push_back(at::cat(kept, 3));
    above = std::move(row);
  }
  return at::cat(strips, 2);
}

}  // namespace tiller
