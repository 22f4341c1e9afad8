#include "metrics/frechet.h"

#include "io/error.h"
#include "tests/metrics/feature_sets.h"

namespace tiller::test {
namespace {

Moments real_moments() { return moments_of(real_features()); }

/// The distance where the images have weights, the covariance scaled as for N - 1.
double weighted_distance(const Tensor& x, const Tensor& weights,
                         const FrechetReference& reference) {
  const double total = weights.sum().item<double>();
  const Tensor mean = at::mv(x.t(), weights) / total, centred = x - mean;
  const double n = double(x.size(0)), scale = n / (n - 1) / total;
  const Tensor covariance = at::mm((centred * weights.unsqueeze(1)).t(), centred) * scale;
  return reference.distance({x.size(0), mean, covariance});
}

TEST(Frechet, EqualsTorchFidelityAndPytorchFid) {
  const Json& expected = metrics_reference().at("frechet");
  const double distance = frechet_distance(moments_of(fake_features()), real_moments());
  EXPECT_NEAR(distance, expected.at("torch_fidelity"), 1e-11);
  EXPECT_NEAR(distance, expected.at("pytorch_fid"), 1e-11);
}

TEST(Frechet, FewerImagesThanFeaturesEqualSingularValues) {
  const Json& expected = metrics_reference().at("frechet");
  const Moments few = moments_of(fake_features().slice(0, 0, 10));
  EXPECT_NEAR(frechet_distance(few, real_moments()), expected.at("few"), 1e-5);
  const Moments few_real = moments_of(real_features().slice(0, 0, 12));
  EXPECT_NEAR(frechet_distance(few, few_real), expected.at("few_both"), 1e-5);
}

TEST(Frechet, IsSymmetricAndZeroForTheSame) {
  const Moments fake = moments_of(fake_features()), real = real_moments();
  EXPECT_NEAR(frechet_distance(fake, real), frechet_distance(real, fake), 1e-11);
  EXPECT_NEAR(frechet_distance(real, real), 0, 1e-11);
}

TEST(Frechet, OfNormalDistributionsOnTheAxes) {
  const Moments a{0, tensor_from({1., 2.}), at::diag(tensor_from({4., 9.}))};
  const Moments b{0, tensor_from({0., 0.}), at::diag(tensor_from({1., 0.}))};
  EXPECT_NEAR(frechet_distance(a, b), 1 + 4 + 1 + 9, 1e-12);
}

TEST(Frechet, WithoutAnyVarianceIsTheDistanceOfMeans) {
  const Moments a{2, at::ones({3}, at::kDouble), at::zeros({3, 3}, at::kDouble)};
  const Moments b{2, at::zeros({3}, at::kDouble), at::zeros({3, 3}, at::kDouble)};
  EXPECT_EQ(frechet_distance(a, b), 3);
}

TEST(Frechet, RefusesOtherWidthsAndNan) {
  const Moments real = real_moments();
  EXPECT_THROW(frechet_distance(moments_of(real_features().slice(1, 1)), real), Error);
  const Moments bad{9, at::full({24}, std::nan(""), at::kDouble), real.covariance};
  EXPECT_THROW(frechet_distance(bad, real), Error);
  EXPECT_THROW(frechet_distance(real, bad), Error);
}

TEST(FrechetInfluence, IsTheDerivativeInAnImagesWeight) {
  const Tensor x = fake_features();
  const FrechetReference reference(real_moments());
  const Tensor influence = frechet_influence(x, reference);
  constexpr double step = 1e-4;
  for (const int64_t i : {0, 77, 179}) {
    Tensor up = at::ones({x.size(0)}, at::kDouble), down = up.clone();
    up[i] += step;
    down[i] -= step;
    const double derivative =
        (weighted_distance(x, up, reference) - weighted_distance(x, down, reference)) / (2 * step);
    EXPECT_NEAR(influence[i].item<double>() / (derivative * double(x.size(0))), 1, 1e-6);
  }
  EXPECT_NEAR(influence.sum().item<double>(), 0, 1e-8);
}

TEST(FrechetInterval, AgreesWithTheJackknife) {
  const Tensor x = fake_features().slice(1, 0, 4);
  const FrechetReference reference(moments_of(real_features().slice(1, 0, 4)));
  const int64_t n = x.size(0);
  Tensor left_out = at::empty({n}, at::kDouble);
  for (int64_t i = 0; i < n; ++i)
    left_out[i] = reference.distance(moments_of(at::cat({x.slice(0, 0, i), x.slice(0, i + 1)})));
  const double error = left_out.std(false).item<double>() * std::sqrt(double(n - 1));
  const Estimate estimate = frechet_interval(x, reference);
  EXPECT_NEAR(estimate.value, reference.distance(moments_of(x)), 1e-12);
  EXPECT_NEAR(estimate.margin / (1.96 * error), 1, 0.05);
}

TEST(FrechetInterval, HoldsWithFewerImagesThanFeatures) {
  const FrechetReference reference(real_moments());
  const Estimate estimate = frechet_interval(fake_features().slice(0, 0, 10), reference);
  EXPECT_TRUE(std::isfinite(estimate.margin));
  EXPECT_GT(estimate.margin, 0);
}

TEST(FrechetInfinity, EqualsALineThroughTorchFidelitysDistances) {
  const Json& expected = metrics_reference().at("infinity");
  const FrechetReference reference(real_moments());
  const auto got = frechet_infinity(fake_features(), reference, expected.at("points"),
                                    expected.at("seed"), expected.at("smallest"));
  EXPECT_NEAR(got.value, expected.at("value"), 1e-9);
  EXPECT_NEAR(got.slope, expected.at("slope"), 1e-6);
}

TEST(FrechetInfinity, RefusesTooFew) {
  const FrechetReference reference(real_moments());
  EXPECT_THROW(frechet_infinity(fake_features().slice(0, 0, 3), reference), Error);
  EXPECT_THROW(frechet_infinity(fake_features(), reference, 1), Error);
}

}  // namespace
}  // namespace tiller::test
