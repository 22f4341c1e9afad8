#include "metrics/frechet.h"

#include <ATen/ATen.h>

#include <cmath>

#include "io/error.h"
#include "metrics/features.h"
#include "metrics/numpy_random.h"

namespace tiller {
namespace {

/// Rounding leaves eigenvalues of a singular matrix a little around 0.
constexpr double rounding = 1e-14;

double trace_of(const Tensor& matrix) { return matrix.trace().item<double>(); }

Tensor symmetric(const Tensor& matrix) { return (matrix + matrix.t()) / 2; }

struct Eigen {
  Tensor values, vectors;
};

/// Of a symmetric matrix with no negative eigenvalues but by rounding.
Eigen eigen(const Tensor& matrix) {
  auto [values, vectors] = at::linalg_eigh(symmetric(matrix));
  return {values.clamp_min(0), vectors};
}

/// f(M) for eigenvalues f(values).
Tensor compose(const Tensor& values, const Tensor& vectors) {
  return at::mm(vectors * values, vectors.t());
}

/// S2^(1/2) S1 S2^(1/2).
Tensor sandwich(const Tensor& root, const Tensor& covariance) {
  return at::mm(at::mm(root, covariance), root);
}

double squared_distance(const Tensor& a, const Tensor& b) {
  return (a - b).square().sum().item<double>();
}

/// The optimal transport map between the normal distributions, S2^(1/2) (S2^(1/2) S1
/// S2^(1/2))^(-1/2) S2^(1/2): the derivative of tr (S1 S2)^(1/2) in S1, twice. Directions without
/// variance are left out.
Tensor transport_map(const FrechetReference& reference, const Tensor& covariance) {
  const auto [values, vectors] = eigen(sandwich(reference.root(), covariance));
  const double least = values.max().item<double>() * rounding * double(values.size(0));
  const Tensor inverse = at::where(values > least, values.rsqrt(), 0.);
  return sandwich(reference.root(), compose(inverse, vectors));
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
  const auto [values, vectors] = eigen(moments_.covariance);
  root_ = compose(values.sqrt(), vectors);
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

Tensor frechet_influence(const Tensor& features, const FrechetReference& reference) {
  const Moments moments = moments_of(features);
  check_comparable(moments, reference.moments());
  const Tensor map = transport_map(reference, moments.covariance);
  const Tensor shift = moments.mean - reference.moments().mean;
  const double n = double(moments.count), unbiased = n / (n - 1);
  std::vector<Tensor> influence;
  for (const Tensor& rows : features.split(4096)) {
    const Tensor x = rows.to(at::kCPU, at::kDouble) - moments.mean;
    influence.push_back(2 * at::mv(x, shift) + unbiased * (x * (x - at::mm(x, map))).sum(1));
  }
  const Tensor all = at::cat(influence);
  return all - all.mean();
}

double confidence_margin(const Tensor& influence) {
  constexpr double normal_quantile = 1.959963984540054;
  return normal_quantile * influence.std().item<double>() / std::sqrt(double(influence.size(0)));
}

Estimate frechet_interval(const Tensor& features, const FrechetReference& reference) {
  return {reference.distance(moments_of(features)),
          confidence_margin(frechet_influence(features, reference))};
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
