#include "metrics/mmd.h"

#include <ATen/ATen.h>

#include "metrics/distance_tiles.h"
#include "metrics/features.h"

namespace tiller {
namespace {

constexpr double sigma = 10, mmd_scale = 1000;

Tensor normalised(const Tensor& x) {
  const Tensor norms = x.norm(2, {1}, true, at::kDouble);
  return x / norms.clamp_min(1e-12);
}

/// Mean of 1 - k, so that what is common to all kernels doesn't round off their differences.
double mean_complement(const Tensor& x, const Tensor& y) {
  double sum = 0;
  for_each_distance_tile(x, y, [&](const Tensor& squared, int64_t, int64_t) {
    sum -= at::expm1(squared / (-2 * sigma * sigma)).sum().item<double>();
  });
  return sum / (double(x.size(0)) * double(y.size(0)));
}

}  // namespace

double clip_mmd(const Tensor& generated, const Tensor& reference) {
  check_features(generated, reference);
  const Tensor x = normalised(generated), y = normalised(reference.to(generated.device()));
  return mmd_scale * (2 * mean_complement(x, y) - mean_complement(x, x) - mean_complement(y, y));
}

}  // namespace tiller
