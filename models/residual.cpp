#include "models/residual.h"

#include <ATen/ATen.h>
#include <torch/library.h>

#include "models/gradients.h"
#include "models/kernels/floating_type.h"
#include "models/operation.h"

namespace tiller {
namespace {

using ResidualSum = Tensor(const Tensor&, const std::optional<Tensor>&, const Tensor&,
                           const Tensor&);

bool has_kernel(const Unbiased& own, const Unbiased& h) {
  const Tensor& x = own.x;
  return x.is_cuda() && kernels::is_kernel_type(x.scalar_type()) &&
         h.x.scalar_type() == x.scalar_type() && x.sizes() == h.x.sizes() && x.size(1) % 8 == 0 &&
         x.numel() > 0 && x.numel() <= kMostSummed && h.bias.defined() &&
         !wants_gradients({x, own.bias, h.x, h.bias});
}

/// The operator's kernel where there is none of its own.
Tensor residual_reference(const Tensor& x, const std::optional<Tensor>& own, const Tensor& h,
                          const Tensor& offset) {
  return Unbiased{x, own.value_or(Tensor())}.whole() + Unbiased{h, offset}.whole();
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(tiller, library) {
  library.def("residual_sum(Tensor x, Tensor? own, Tensor h, Tensor offset) -> Tensor");
}

TORCH_LIBRARY_IMPL(tiller, CompositeExplicitAutograd, library) {
  library.impl("residual_sum", residual_reference);
}

Tensor Unbiased::whole() const {
  return bias.defined() ? x + bias.to(x.scalar_type()).unsqueeze(-1).unsqueeze(-1) : x;
}

Tensor residual_sum(const Unbiased& x, const Unbiased& h) {
  if (!has_kernel(x, h)) return x.whole() + h.whole();
  static const auto kernel = operation<ResidualSum>("tiller::residual_sum");
  return kernel.call(x.x, present(x.bias), h.x, h.bias);
}

}  // namespace tiller
