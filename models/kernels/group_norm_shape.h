#pragma once
/// How models/kernels/group_norm.cuh divides its work.
#include <algorithm>
#include <cstdint>

namespace tiller::kernels {

/// Whether the kernels take images of these sizes.
inline bool group_norm_fits(int64_t rows, int64_t channels, int64_t groups) {
  return rows < 65536 && channels <= 4096 && channels % 8 == 0 && groups > 0 && groups <= 256 &&
         channels % groups == 0;
}

/// An image's pixels, a chunk a block.
struct Chunks {
  int count = 1;
  int64_t pixels = 0;  ///< Of all chunks but the last.
};

struct GroupNormShape {
  int64_t rows, pixels;
  int channels, groups;
  int vectors, lanes;  ///< A block: threads along the channels, and along the pixels.
  int threads;         ///< All of a block.
  int parts;           ///< Threads that add up a group's sums together.
  Chunks moments, apply;
};

/// As many chunks as give about `blocks` blocks, each thread at least `least` pixels.
inline Chunks group_norm_chunks(const GroupNormShape& shape, int64_t blocks, int64_t least) {
  const int64_t most = std::max<int64_t>(1, blocks / shape.rows);
  const int64_t worthwhile = std::max<int64_t>(1, shape.pixels / (shape.lanes * least));
  const int64_t count = std::min(most, worthwhile), pixels = (shape.pixels + count - 1) / count;
  return {int((shape.pixels + pixels - 1) / pixels), pixels};
}

/// vector: channels that a thread reads at once, a divisor of their number.
inline GroupNormShape group_norm_shape(int64_t rows, int64_t pixels, int64_t channels,
                                       int64_t groups, int vector) {
  constexpr int kThreads = 512, kMaxParts = 16, kMaxSums = 512;
  // About a large GPU's multiprocessors, and two blocks on each of them. Every block of the
  // second kernel reads all chunks' moments, so there are few of those.
  constexpr int64_t kMomentsBlocks = 132, kApplyBlocks = 264;
  GroupNormShape shape{rows, pixels, int(channels), int(groups), 1, 1, 1, 1, {}, {}};
  shape.vectors = shape.channels / vector;
  shape.lanes = std::max(1, kThreads / shape.vectors);
  shape.threads = shape.vectors * shape.lanes;
  shape.parts = std::clamp(std::min(shape.threads, kMaxSums) / shape.groups, 1, kMaxParts);
  shape.moments = group_norm_chunks(shape, kMomentsBlocks, 4);
  shape.apply = group_norm_chunks(shape, kApplyBlocks, 2);
  return shape;
}

}  // namespace tiller::kernels
