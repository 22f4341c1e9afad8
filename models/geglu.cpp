#include "models/geglu.h"

#include <ATen/ATen.h>
#include <torch/library.h>

#include "models/gradients.h"
#include "models/operation.h"

namespace tiller {

TORCH_LIBRARY_FRAGMENT(tiller, library) { library.def("geglu(Tensor x) -> Tensor"); }

TORCH_LIBRARY_IMPL(tiller, CompositeExplicitAutograd, library) {
  library.impl("geglu", geglu_reference);
}

Tensor geglu(const Tensor& x) {
  if (!x.is_cuda() || x.scalar_type() == at::kDouble || wants_gradients({x}))
    return geglu_reference(x);
  static const auto kernel = operation<Tensor(const Tensor&)>("tiller::geglu");
  return kernel.call(x);
}

Tensor geglu_reference(const Tensor& x) {
  const auto halves = x.chunk(2, -1);
  return halves[0] * at::gelu(halves[1]);
}

}  // namespace tiller
