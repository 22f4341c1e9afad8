#pragma once
#include <ATen/core/Tensor.h>

#include <concepts>
#include <vector>

namespace tiller {
using at::Tensor;

/// c_1 x_1 + c_2 x_2 + ..., computed in one pass over the tensors once somebody reads it: guidance,
/// predictions and samplers combine linearly, so that a step's sum is one kernel's work on CUDA.
/// A tensor in several terms is read once. Terms: of one shape, floating, and not to be changed in
/// place while a combination holds them.
class Combination {
 public:
  struct Term {
    double factor;
    Tensor tensor;
  };

  Combination() = default;
  /// NOLINTNEXTLINE(google-explicit-constructor): a tensor is a combination.
  Combination(Tensor tensor) {
    if (tensor.defined()) terms_.push_back({1, std::move(tensor)});
  }

  bool defined() const { return !terms_.empty(); }
  const std::vector<Term>& terms() const { return terms_; }
  /// float32, or float64 where a term is; undefined without terms.
  const Tensor& tensor() const;
  /// NOLINTNEXTLINE(google-explicit-constructor): and reads as a tensor.
  operator const Tensor&() const { return tensor(); }

  /// Adds factor * other.
  Combination& add(const Combination& other, double factor);
  Combination& scale(double factor);

 private:
  std::vector<Term> terms_;
  mutable Tensor value_;  // once it was read
};

template <class A, class B>
concept Combinable = (std::same_as<A, Combination> &&
                      (std::same_as<B, Combination> || std::same_as<B, Tensor>)) ||
                     (std::same_as<A, Tensor> && std::same_as<B, Combination>);

template <class A, class B>
requires Combinable<A, B> Combination operator+(const A& a, const B& b) {
  return Combination(a).add(b, 1);
}
template <class A, class B>
requires Combinable<A, B> Combination operator-(const A& a, const B& b) {
  return Combination(a).add(b, -1);
}
template <std::same_as<Combination> C>  // tensors are LibTorch's to scale
C operator*(double factor, C x) {
  return x.scale(factor);
}
template <std::same_as<Combination> C>
C operator/(C x, double divisor) {
  return x.scale(1 / divisor);
}

/// a - b, not computed yet.
inline Combination difference(const Tensor& a, const Tensor& b) { return Combination(a) - b; }

}  // namespace tiller
