#include "metrics/normalise.h"

#include <ATen/ATen.h>

namespace tiller {
namespace {

Tensor a_channel(at::ArrayRef<double> values, const Tensor& like) {
  return at::tensor(values, at::kDouble).view({1, 3, 1, 1}).to(like);
}

}  // namespace

Tensor normalised(const Tensor& x, at::ArrayRef<double> mean, at::ArrayRef<double> deviation) {
  return (x - a_channel(mean, x)) / a_channel(deviation, x);
}

}  // namespace tiller
