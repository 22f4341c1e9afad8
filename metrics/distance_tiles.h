#pragma once
/// All pairs of two sets of features, in tiles that bound the memory.
#include <ATen/core/Tensor.h>

#include <functional>

namespace tiller {
using at::Tensor;

/// Calls `use` with the squared Euclidean distances (R, C) in float64 of a's rows from `row` on to
/// b's rows from `column` on, rows in the outer loop. a: (N, D), b: (M, D), on one device.
/// Distances are exact to about 1e-15 of the features' squared norms, which float32 is not: there
/// the nearest neighbours of near-duplicates would be wrong; below 1e-12 of them they are 0. A tile
/// takes `side` rows and columns: 32 MiB and less than that again for the rows. Cost: 2 N M D
/// operations.
void for_each_distance_tile(
    const Tensor& a, const Tensor& b,
    const std::function<void(const Tensor& squared, int64_t row, int64_t column)>& use,
    int64_t side = 2048);

}  // namespace tiller
