#pragma once
#include <utility>

#include "models/site.h"

namespace tiller {

/// What a cross-attention weighs values with in place of the softmax of its scores.
class AttentionWeights {
 public:
  virtual ~AttentionWeights() = default;
  /// scores: (R, heads, N, L) float32, q k^T / sqrt(d). Returns as many weights, whose rows add up
  /// to 1. A row's depend on its scores alone.
  virtual Tensor operator()(const Tensor& scores) const = 0;
};

/// Where a block of the way up reads what came from below beside a skip.
struct SkipPlace {
  int stage = 0;  ///< Of the way up, from 0 at the bottom; the size doubles from one to the next.
  int64_t width = 0;  ///< Channels of the network's first layer.
};

/// Changes what the blocks of the way up read.
class SkipFilter {
 public:
  virtual ~SkipFilter() = default;
  /// x: (R, C, H, W) from below, skip: (R, C', H, W). Returns both, of the same shapes. An image's
  /// numbers depend on its own alone.
  virtual std::pair<Tensor, Tensor> operator()(const SkipPlace&, const Tensor& x,
                                               const Tensor& skip) const = 0;
};

/// Rules that a network follows in all branches of an evaluation; null: none. Networks call them;
/// guidance/ implements them. They depend on their arguments alone, never on what the device has
/// computed, so that evaluations can be recorded.
struct Alterations {
  const AttentionWeights* text = nullptr;  ///< Of every cross-attention to text.
  const SkipFilter* skips = nullptr;
  bool operator==(const Alterations&) const = default;
};

}  // namespace tiller
