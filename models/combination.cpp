#include "models/combination.h"

#include <ATen/ATen.h>
#include <torch/library.h>

#include <algorithm>

#include "io/parallel.h"
#include "models/gradients.h"
#include "models/kernels/choose.h"
#include "models/kernels/weighted_sum.h"
#include "models/operation.h"

namespace tiller {
namespace {

/// Elements that are worth a thread.
constexpr int64_t kSumGrain = 1 << 15;

constexpr auto sum_kernels =
    kernels::chosen<kernels::weighted_sum_baseline, kernels::weighted_sum_avx2,
                    kernels::weighted_sum_avx512>;

at::ScalarType sum_type(at::TensorList x) {
  const bool wide = std::any_of(x.begin(), x.end(),
                                [](const Tensor& one) { return one.scalar_type() == at::kDouble; });
  return wide ? at::kDouble : at::kFloat;
}

void require_one_shape(at::TensorList x) {
  for (const Tensor& one : x)
    TORCH_CHECK(one.sizes() == x[0].sizes(), "weighted_sum: got shapes ", x[0].sizes(), " and ",
                one.sizes());
}

Tensor weighted_sum_reference(at::TensorList x, at::ArrayRef<double> factors) {
  require_one_shape(x);
  Tensor sum = x[0].to(at::kDouble) * factors[0];
  for (size_t i = 1; i < x.size(); ++i) sum = at::add(sum, x[i].to(at::kDouble), factors[i]);
  return sum.to(sum_type(x));
}

template <class T, class Sum>
Tensor summed_up(at::TensorList x, at::ArrayRef<double> factors, const Sum& sum) {
  std::vector<Tensor> terms;
  for (const Tensor& one : x) terms.push_back(one.to(sum_type(x)).contiguous());
  Tensor sums = at::empty(x[0].sizes(), terms[0].options());
  T* const to = sums.mutable_data_ptr<T>();
  parallel_for(0, sums.numel(), kSumGrain, [&](int64_t begin, int64_t end) {
    std::vector<const T*> from;
    for (const Tensor& term : terms) from.push_back(term.const_data_ptr<T>() + begin);
    sum(from.data(), factors.data(), std::ssize(from), to + begin, end - begin);
  });
  return sums;
}

Tensor weighted_sum_cpu(at::TensorList x, at::ArrayRef<double> factors) {
  require_one_shape(x);
  return sum_type(x) == at::kDouble ? summed_up<double>(x, factors, sum_kernels().of_doubles)
                                    : summed_up<float>(x, factors, sum_kernels().of_floats);
}

Tensor weighted_sum(const std::vector<Tensor>& x, const std::vector<double>& factors) {
  static const auto fused =
      operation<Tensor(at::TensorList, at::ArrayRef<double>)>("tiller::weighted_sum");
  const bool differentiable =
      std::any_of(x.begin(), x.end(), [](const Tensor& one) { return wants_gradients({one}); });
  return differentiable ? weighted_sum_reference(x, factors) : fused.call(x, factors);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(tiller, library) {
  library.def("weighted_sum(Tensor[] x, float[] factors) -> Tensor");
}

TORCH_LIBRARY_IMPL(tiller, CompositeExplicitAutograd, library) {
  library.impl("weighted_sum", weighted_sum_reference);
}

TORCH_LIBRARY_IMPL(tiller, CPU, library) { library.impl("weighted_sum", weighted_sum_cpu); }

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
    const auto same = std::find_if(terms_.begin(), terms_.end(),
                                   [&](const Term& term) { return term.tensor.is_same(tensor); });
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
