#pragma once
/// Kernel Inception distance (Bińkowski et al. 2018, arXiv 1801.01401).
#include <ATen/core/Tensor.h>

namespace tiller {
using at::Tensor;

struct KernelDistance {
  double mean = 0, std = 0;  ///< Over the subsets; std of the population (divided by their number).
};

struct KernelOptions {
  int64_t subsets = 100;
  int64_t subset_size = 1000;  ///< Shrinks to the smaller set, as clean-fid does.
  uint32_t seed = 2020;
};

/// Unbiased squared MMD with the kernel (x.y / D + 1)^3: of two sets (M, D) of one size, at least 2
/// each. Slightly negative where the sets are alike.
double squared_mmd(const Tensor& generated, const Tensor& reference);

/// squared_mmd of random subsets, drawn as torch-fidelity does (the generated first) and computed
/// in float64: equal to its kernel_inception_distance_mean and _std on features in float64. Cost:
/// 3 * subsets * subset_size^2 * D multiplications, 20 seconds of a core for D = 2048. Throws
/// Error when the widths differ, on fewer than two images and on values that aren't finite.
KernelDistance kernel_distance(const Tensor& generated, const Tensor& reference,
                               const KernelOptions& = {});

}  // namespace tiller
