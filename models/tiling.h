#pragma once
#include <functional>

#include "io/tensor_file.h"

namespace tiller {

/// How an image is cut into square tiles, and how those that a network makes of them are joined.
struct TileGrid {
  int64_t tile = 0;    ///< Edge of a tile of the input.
  int64_t stride = 0;  ///< From one tile to the next.
  int64_t blend = 0;   ///< Rows and columns of the output in which neighbours are mixed.
  int64_t keep = 0;    ///< Edge of what each tile but the last adds to the output.
};

/// The grid of tiles `tile` wide, with `overlap` of each (0 to below 1) covered by the next too,
/// for a network that multiplies sizes by up / down. Throws Error when a tile is below two steps of
/// `down`. All sizes come out whole, as those of diffusers do only for some tiles.
TileGrid tile_grid(int64_t tile, double overlap, int64_t up, int64_t down);

/// Runs each tile of x (B, C, H, W) alone, mixes neighbours linearly in their overlap and joins
/// them: the tiling of diffusers' AutoencoderKL.
Tensor run_tiled(const Tensor& x, const TileGrid&, const std::function<Tensor(const Tensor&)>& run);

}  // namespace tiller
