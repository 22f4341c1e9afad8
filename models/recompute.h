#pragma once
#include "models/branch.h"

namespace tiller {

/// A block of a network, such as a residual block of x and the time embedding.
using BlockFunction = std::function<Tensor(Rows&, const Tensor& x, const Tensor& more)>;

/// block(rows, x, more). Where RowOptions::recompute asks for it, nothing of the block is kept for
/// the backward pass, which evaluates it again with the same random numbers and precision (arXiv
/// 1604.06174). The block outlives that pass, and depends on x, `more` and trained tensors alone:
/// it then gets rows of its own, of one branch that is conditioned on nothing.
Tensor recomputed(const BlockFunction& block, Rows&, const Tensor& x, const Tensor& more);

}  // namespace tiller
