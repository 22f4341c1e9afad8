#pragma once
/// How models/kernels/group_norm.cuh divides its work.
#include <algorithm>
#include <cstdint>

namespace tiller::kernels {

/// Channels are read in packs: 8 in half precision, 4 in float32.
constexpr int kPackBytes = 16;

/// Whether the kernels take images of these sizes.
inline bool group_norm_fits(int64_t rows, int64_t channels, int64_t groups) {
  return rows < 65536 && channels <= 4096 && channels % 8 == 0 && groups > 0 && groups <= 256 &&
         channels % groups == 0;
}

struct GroupNormShape {
  int64_t rows, pixels;
  int channels, groups;
  int chunks;            ///< Blocks a row.
  int64_t chunk_pixels;  ///< Of all chunks but the last.
  int vectors, lanes;    ///< A block: threads along the channels, and along the pixels.
};

/// vector: channels that a thread reads at once, a divisor of their number.
inline GroupNormShape group_norm_shape(int64_t rows, int64_t pixels, int64_t channels,
                                       int64_t groups, int vector) {
  constexpr int kThreads = 256, kBlocks = 512, kMaxChunks = 64, kLeastPixels = 8;
  GroupNormShape shape{rows, pixels, int(channels), int(groups), 1, pixels, 1, 1};
  shape.vectors = shape.channels / vector;
  shape.lanes = std::max(1, kThreads / shape.vectors);
  const int64_t most = std::min<int64_t>((kBlocks + rows - 1) / rows, kMaxChunks);
  const int64_t worthwhile = std::max<int64_t>(1, pixels / (int64_t(shape.lanes) * kLeastPixels));
  const int64_t chunks = std::min(most, worthwhile);
  shape.chunk_pixels = (pixels + chunks - 1) / chunks;
  shape.chunks = int((pixels + shape.chunk_pixels - 1) / shape.chunk_pixels);
  return shape;
}

}  // namespace tiller::kernels
