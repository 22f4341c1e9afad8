#include "samplers/lattice.h"

#include <ATen/ATen.h>
#include <torch/library.h>

#include <cmath>

#include "models/operation.h"

namespace tiller {
namespace {

constexpr double scale = 1 << lattice_bits;
constexpr double limit = double(lattice_limit);

Tensor rounded(const Tensor& x) {
  const Tensor z = (x * scale).round_().clamp_(-limit, limit);
  return at::nan_to_num(z, limit).to(at::kLong);
}

Tensor lattice_sum_reference(const Tensor& x, double a, const Tensor& y, double b) {
  return rounded(x.to(at::kDouble) * a + y.to(at::kDouble) * b);
}

/// Reversible multiplication by up / down.
Tensor scaled(const Tensor& w, Tensor& side, int64_t up, int64_t down) {
  side = side * down + at::remainder(w, down);
  const Tensor product = at::floor_divide(w, down) * up + at::remainder(side, up);
  side = at::floor_divide(side, up);
  return product;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(tiller, m) {
  m.def("lattice_sum(Tensor x, float a, Tensor y, float b) -> Tensor");
}

TORCH_LIBRARY_IMPL(tiller, CompositeExplicitAutograd, m) {
  m.impl("lattice_sum", lattice_sum_reference);
}

Tensor to_lattice(const Tensor& x) { return rounded(x.to(at::kDouble)); }

Tensor from_lattice(const Tensor& z) { return z.to(at::kDouble) / scale; }

Tensor lattice_sum(const Tensor& x, double a, const Tensor& y, double b) {
  static const auto kernel =
      operation<Tensor(const Tensor&, double, const Tensor&, double)>("tiller::lattice_sum");
  return kernel.call(x, a, y, b);
}

LatticeFactor nearest_factor(double gamma) {
  const auto value = [](int64_t n) { return double(n) / double(n + 1); };
  constexpr int64_t largest = 1 << 12;
  const double exact = gamma < 1 ? gamma / (1 - gamma) : double(largest);
  const auto below = int64_t(std::min(std::floor(exact), double(largest - 1)));
  const int64_t n = gamma - value(below) <= value(below + 1) - gamma ? below : below + 1;
  return 1 - gamma < gamma - value(n) ? LatticeFactor{} : LatticeFactor{n, n + 1};
}

Tensor multiply(const Tensor& w, Tensor& side, LatticeFactor factor) {
  return factor.n == factor.d ? w : scaled(w, side, factor.n, factor.d);
}

Tensor divide(const Tensor& w, Tensor& side, LatticeFactor factor) {
  return factor.n == factor.d ? w : scaled(w, side, factor.d, factor.n);
}

int64_t side_capacity(LatticeFactor factor) {
  if (factor.n == factor.d) return INT64_MAX;
  return int64_t((62 - 2 * std::log2(double(factor.d))) /
                 std::log2(double(factor.d) / double(factor.n)));
}

}  // namespace tiller
