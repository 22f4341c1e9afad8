#include "models/layer_norm.h"

#include <ATen/ATen.h>
#include <torch/library.h>

#include "models/gradients.h"
#include "models/kernels/floating_type.h"
#include "models/kernels/layer_norm_shape.h"
#include "models/operation.h"

namespace tiller {
namespace {

using LayerNormOfSum = std::tuple<Tensor, Tensor>(const Tensor&, const std::optional<Tensor>&,
                                                  const Tensor&, const Tensor&, double);

std::tuple<Tensor, Tensor> layer_norm_reference(const Tensor& x, const std::optional<Tensor>& term,
                                                const Tensor& weight, const Tensor& bias,
                                                double eps) {
  const NormedSum result =
      layer_norm_of_sum_reference(x, term.value_or(Tensor()), {weight, bias, eps});
  return {term ? result.sum : at::empty({0}, x.options()), result.norm};
}

bool has_kernel(const Tensor& x, const Tensor& term, const LayerNorm& norm) {
  return x.is_cuda() && kernels::is_kernel_type(x.scalar_type()) && x.numel() > 0 &&
         kernels::layer_norm_fits(x.size(-1)) &&
         (!term.defined() ||
          (term.sizes() == x.sizes() && term.scalar_type() == x.scalar_type())) &&
         !wants_gradients({x, term, norm.weight, norm.bias});
}

}  // namespace

Tensor LayerNorm::operator()(const Tensor& x) const {
  return at::layer_norm(x, {x.size(-1)}, weight, bias, eps);
}

TORCH_LIBRARY_FRAGMENT(tiller, library) {
  // The first is empty without a term.
  library.def(
      "layer_norm_of_sum(Tensor x, Tensor? term, Tensor weight, Tensor bias, float eps) -> "
      "(Tensor, Tensor)");
}

TORCH_LIBRARY_IMPL(tiller, CompositeExplicitAutograd, library) {
  library.impl("layer_norm_of_sum", layer_norm_reference);
}

NormedSum layer_norm_of_sum(const Tensor& x, const Tensor& term, const LayerNorm& norm) {
  if (!has_kernel(x, term, norm)) return layer_norm_of_sum_reference(x, term, norm);
  static const auto fused = operation<LayerNormOfSum>("tiller::layer_norm_of_sum");
  const auto added = present(term);
  const auto [sum, normed] = fused.call(x, added, norm.weight, norm.bias, norm.eps);
  return {added ? sum : x, normed};
}

NormedSum layer_norm_of_sum_reference(const Tensor& x, const Tensor& term, const LayerNorm& norm) {
  const Tensor sum = term.defined() ? x + term : x;
  return {sum, norm(sum)};
}

}  // namespace tiller
