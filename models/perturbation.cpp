#include "models/perturbation.h"

#include <ATen/ATen.h>

namespace tiller {

Tensor Perturbation::attention(const Site&, const Tensor& q, const Tensor& k,
                               const Tensor& v) const {
  return at::scaled_dot_product_attention(q, k, v);
}

}  // namespace tiller
