#include "metrics/kid.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "metrics/features.h"
#include "metrics/numpy_random.h"

namespace tiller {
namespace {

Tensor kernel(const Tensor& x, const Tensor& y) {
  return at::addmm(at::ones({}, x.options()), x, y.t(), 1, 1 / double(x.size(1))).pow(3);
}

/// Without an image's kernel with itself.
Tensor mean_of_pairs(const Tensor& kernel) {
  const auto m = double(kernel.size(0));
  return (kernel.sum() - kernel.trace()) / (m * (m - 1));
}

Tensor rows(const Tensor& features, const Tensor& indices) {
  return features.index_select(0, indices.to(features.device())).to(at::kDouble);
}

}  // namespace

double squared_mmd(const Tensor& generated, const Tensor& reference) {
  const Tensor x = generated.to(at::kDouble), y = reference.to(x.device(), at::kDouble);
  const Tensor within = mean_of_pairs(kernel(x, x)) + mean_of_pairs(kernel(y, y));
  return (within - 2 * kernel(x, y).mean()).item<double>();
}

KernelDistance kernel_distance(const Tensor& generated, const Tensor& reference,
                               const KernelOptions& options) {
  check_features(generated, reference, 2);
  if (options.subsets < 1 || options.subset_size < 2)
    throw Error("KID: got " + std::to_string(options.subsets) + " subsets of " +
                std::to_string(options.subset_size) + ", expected at least 1 of 2.");
  const int64_t size = std::min({options.subset_size, generated.size(0), reference.size(0)});
  NumpyRandom random(options.seed);
  Tensor distances = at::empty({options.subsets}, at::kDouble);
  for (int64_t i = 0; i < options.subsets; ++i) {
    const Tensor x = rows(generated, random.choice(generated.size(0), size));
    const Tensor y = rows(reference, random.choice(reference.size(0), size));
    distances[i] = squared_mmd(x, y);
  }
  return {distances.mean().item<double>(), distances.std(/*unbiased=*/false).item<double>()};
}

}  // namespace tiller
