#include "models/combination.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include <algorithm>

#include "models/gradients.h"

namespace tiller {
namespace {

at::ScalarType sum_type(at::TensorList x) {
  const bool wide = std::any_of(x.begin(), x.end(), [](const Tensor& one) {
    return one.scalar_type() == at::kDouble;
  });
  return wide ? at::kDouble : at::kFloat;
}

Tensor weighted_sum_reference(at::TensorList x, at::ArrayRef<double> factors) {
  const auto type = sum_type(x);
  Tensor sum = x[0].to(type) * factors[0];
  for (size_t i = 1; i < x.size(); ++i) {
    TORCH_CHECK(x[i].sizes() == sum.sizes(), "weighted_sum: got shapes ", sum.sizes(), " and ",
                x[i].sizes());
    sum = at::add(sum, x[i].to(type), factors[i]);
  }
  return sum;
}

Tensor weighted_sum(const std::vector<Tensor>& x, const std::vector<double>& factors) {
  static const auto operation = c10::Dispatcher::singleton()
                                    .findSchemaOrThrow("tiller::weighted_sum", "")
                                    .typed<Tensor(at::TensorList, at::ArrayRef<double>)>();
  const bool differentiable = std::any_of(x.begin(), x.end(), [](const Tensor& one) {
    return wants_gradients({one});
  });
  return differentiable ? weighted_sum_reference(x, factors) : operation.call(x, factors);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(tiller, library) {
  library.def("weighted_sum(Tensor[] x, float[] factors) -> Tensor");
}

TORCH_LIBRARY_IMPL(tiller, CompositeExplicitAutograd, library) {
  library.impl("weighted_sum", weighted_sum_reference);
}

const Tensor& Combination::tensor() const {
  if (value_.defined() || terms_.empty()) return value_;
  const auto& [factor, only] = terms_.front();
  if (terms_.size() == 1 && factor == 1) {
    value_ = only.to(sum_type(only));
    return value_;
  }
  std::vector<Tensor> tensors;
  std::vector<double> factors;
  for (const auto& [weight, tensor] : terms_) {
    tensors.push_back(tensor);
    factors.push_back(weight);
  }
  value_ = weighted_sum(tensors, factors);
  return value_;
}

Combination& Combination::add(const Combination& other, double factor) {
  value_ = Tensor();
  for (const auto& [weight, tensor] : other.terms_) {
    const auto same = std::find_if(terms_.begin(), terms_.end(), [&](const Term& term) {
      return term.tensor.is_same(tensor);
    });
    if (same == terms_.end())
      terms_.push_back({factor * weight, tensor});
    else
      same->factor += factor * weight;
  }
  return *this;
}

Combination& Combination::scale(double factor) {
  value_ = Tensor();
  for (auto& term : terms_) term.factor *= factor;
  return *this;
}

}  // namespace tiller
