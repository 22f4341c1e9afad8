#include "metrics/vendi.h"

#include <ATen/ATen.h>

#include <cmath>

#include "metrics/features.h"

namespace tiller {

double vendi_score(const Tensor& features) {
  check_features(features, "features");
  const Tensor wide = features.to(at::kCPU, at::kDouble);
  const Tensor x = wide / wide.norm(2, {1}, true).clamp_min(1e-12);
  // x x^T and x^T x have the same eigenvalues, but for zeros.
  const Tensor gram = x.size(0) < x.size(1) ? at::mm(x, x.t()) : at::mm(x.t(), x);
  const Tensor shares = at::linalg_eigvalsh(gram).clamp_min(0) / double(x.size(0));
  return std::exp(-at::xlogy(shares, shares).sum().item<double>());
}

}  // namespace tiller
