#include "metrics/frechet.h"

#include <ATen/ATen.h>

#include <cmath>

#include "io/error.h"
#include "metrics/features.h"
#include "metrics/numpy_random.h"

namespace tiller {
namespace {

double trace_of(const Tensor& matrix) { return matrix.trace().item<double>(); }

Tensor symmetric(const Tensor& matrix) { return (matrix + matrix.t()) / 2; }

/// Of a covariance. Rounding leaves the eigenvalues of a singular one a little around 0.
Tensor square_root(const Tensor& covariance) {
  const auto [values, vectors] = at::linalg_eigh(symmetric(covariance));
  const auto least = values.min().item<double>(), most = values.max().item<double>();
  if (least < -1e-3 * std::abs(most) || most < 0)
    throw Error("covariance: got one with the eigenvalue " + std::to_string(least) +
                ", expected none below 0: it is no covariance.");
  return at::mm(vectors * values.clamp_min(0).sqrt(), vectors.t());
}

/// S2^(1/2) S1 S2^(1/2).
Tensor sandwich(const Tensor& root, const Tensor& covariance) {
  return at::mm(at::mm(root, covariance), root);
}

double squared_distance(const Tensor& a, const Tensor& b) {
  return (a - b).square().sum().item<double>();
}

/// The 97.5% quantile of Student's t (Abramowitz and Stegun 26.7.5), to 1% from 5 degrees on.
double student_quantile(double degrees) {
  constexpr double z = 1.959963984540054;
  const double z3 = z * z * z, z5 = z3 * z * z;
  return z + (z3 + z) / (4 * degrees) + (5 * z5 + 16 * z3 + 3 * z) / (96 * degrees * degrees);
}

double margin_of(const Tensor& pseudovalues) {
  const auto n = double(pseudovalues.size(0));
  return student_quantile(n - 1) * pseudovalues.std().item<double>() / std::sqrt(n);
}

void check_blocks(const Tensor& features, int64_t blocks) {
  if (blocks < 6)
    throw Error("blocks of the jackknife: got " + std::to_string(blocks) +
                ", expected at least 6.");
  check_features(features, "features", 2 * blocks);
}

struct Line {
  double intercept, slope;
};

Line least_squares(const std::vector<double>& x, const std::vector<double>& y) {
  const Tensor tx = at::tensor(x, at::kDouble), ty = at::tensor(y, at::kDouble);
  const Tensor dx = tx - tx.mean();
  const double slope = ((dx * ty).sum() / dx.square().sum()).item<double>();
  return {ty.mean().item<double>() - slope * tx.mean().item<double>(), slope};
}

}  // namespace

FrechetReference::FrechetReference(Moments moments) : moments_(std::move(moments)) {
  check_comparable(moments_, moments_);
  root_ = square_root(moments_.covariance);
}

double FrechetReference::distance(const Moments& other) const {
  check_comparable(other, moments_);
  const Tensor product = symmetric(sandwich(root_, other.covariance));
  const Tensor roots = at::linalg_eigvalsh(product).clamp_min(0).sqrt();
  return squared_distance(other.mean, moments_.mean) + trace_of(other.covariance) +
         trace_of(moments_.covariance) - 2 * roots.sum().item<double>();
}

double frechet_distance(const Moments& a, const Moments& b) {
  return FrechetReference(b).distance(a);
}

FrechetEstimate frechet_interval(const Tensor& features, const FrechetReference& reference,
                                 int64_t blocks, uint32_t seed) {
  check_blocks(features, blocks);
  const Tensor order = NumpyRandom(seed).permutation(features.size(0)).to(features.device());
  const Moments moments = moments_of(features);
  MomentSum all(moments.mean);
  for (const Tensor& rows : features.split(4096)) all.add(rows);
  FrechetEstimate estimate;
  estimate.value = reference.distance(moments);
  std::vector<double> pseudovalues;
  for (const Tensor& block : order.tensor_split(blocks)) {
    MomentSum rest(moments.mean);
    rest.add(features.index_select(0, block));
    rest.sums() = all.sums() - rest.sums();
    const double left = reference.distance(rest.moments());
    pseudovalues.push_back(double(blocks) * estimate.value - double(blocks - 1) * left);
  }
  estimate.pseudovalues = at::tensor(pseudovalues, at::kDouble);
  estimate.corrected = estimate.pseudovalues.mean().item<double>();
  estimate.margin = margin_of(estimate.pseudovalues);
  return estimate;
}

double paired_margin(const FrechetEstimate& a, const FrechetEstimate& b) {
  if (a.pseudovalues.sizes() != b.pseudovalues.sizes())
    throw Error("paired interval: got " + std::to_string(a.pseudovalues.size(0)) + " and " +
                std::to_string(b.pseudovalues.size(0)) + " blocks, expected the same.");
  return margin_of(a.pseudovalues - b.pseudovalues);
}

FrechetInfinity frechet_infinity(const Tensor& features, const FrechetReference& reference,
                                 int64_t points, uint32_t seed, int64_t smallest) {
  check_features(features, "features", 4);
  if (points < 2)
    throw Error("points of the extrapolation: got " + std::to_string(points) +
                ", expected at least 2.");
  const int64_t count = features.size(0), first = std::clamp<int64_t>(smallest, 2, count / 2);
  NumpyRandom random(seed);
  std::vector<double> inverse, distances;
  for (int64_t i = 0; i < points; ++i) {
    const int64_t n = first + (count - first) * i / (points - 1);
    const Tensor subset = features.index_select(0, random.choice(count, n).to(features.device()));
    inverse.push_back(1 / double(n));
    distances.push_back(reference.distance(moments_of(subset)));
  }
  const Line line = least_squares(inverse, distances);
  return {line.intercept, line.slope};
}

}  // namespace tiller
