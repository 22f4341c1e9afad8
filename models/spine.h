#pragma once
#include "models/branch.h"

namespace tiller {

/// What the way down left for the way up, for rows as they were then; the last is read first.
using Skips = std::vector<Tensor>;

/// x beside the last skip, which is dropped, both as the rows' filter leaves them: (R, C + C', H,
/// W).
Tensor with_skip(const Rows&, const SkipPlace&, const Tensor& x, Skips&);

/// The blocks of a UNet by the skips between its ways.
struct Spine {
  size_t skips = 0;
  /// Leaves skip i; reads what left the one before, or the network's input.
  std::function<Tensor(size_t i, const Tensor& x)> down;
  /// May change the skips (ControlNets do).
  std::function<Tensor(const Tensor& x, Skips&)> middle;
  /// The i-th block of the way up, which drops the last skip.
  std::function<Tensor(size_t i, const Tensor& x, Skips&)> up;
};

/// Down, through the middle and up again. Where the rows have a memory (feature_memory.h), it
/// decides whether what lies below its depth is evaluated.
Tensor run_spine(const Spine&, Rows&, Tensor x);

}  // namespace tiller
