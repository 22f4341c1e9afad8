#pragma once
/// Latents on a lattice: z = Z / 2^16 with integers Z, so that what one direction adds the other
/// subtracts to the bit.
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace tiller {
using at::Tensor;

constexpr int lattice_bits = 16;
constexpr int64_t lattice_limit = int64_t{1} << 47;

/// Rounds half to even. Returns int64, at most +-lattice_limit, which NaN gives too.
Tensor to_lattice(const Tensor& x);
/// Z / 2^16 in float64, exactly.
Tensor from_lattice(const Tensor& z);
/// a x + b y rounded to the lattice, from products and sums in float64, the same in both directions
/// and on every call. x, y: the same shape, floating. As the operator tiller::lattice_sum, so that
/// one kernel does it on CUDA.
Tensor lattice_sum(const Tensor& x, double a, const Tensor& y, double b);

/// A factor n / d that lattices can be multiplied with reversibly: n = d - 1, or 1 / 1.
struct LatticeFactor {
  int64_t n = 1, d = 1;
};
/// The nearest to `gamma`, in [0, 1].
LatticeFactor nearest_factor(double gamma);
/// w * factor, rounded; the digits lost go to `side` (int64, at first zeros). Maclaurin, Duvenaud
/// and Adams, arXiv 1502.03492, section 3.
Tensor multiply(const Tensor& w, Tensor& side, LatticeFactor);
/// The exact inverse: takes the digits back from `side`.
Tensor divide(const Tensor& w, Tensor& side, LatticeFactor);
/// Steps until `side` no longer fits 63 bits.
int64_t side_capacity(LatticeFactor);

}  // namespace tiller
