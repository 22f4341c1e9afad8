#include "metrics/frechet.h"

#include "io/error.h"
#include "metrics/numpy_random.h"
#include "tests/metrics/feature_sets.h"

namespace tiller::test {
namespace {

Moments real_moments() { return moments_of(real_features()); }

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

/// (N, 4) random numbers of no simple distribution.
Tensor random_features(int64_t count) {
  const Tensor x = at::randn({count, 4}, at::kDouble);
  return (x + 0.3 * x.square()).clamp_min(0) * at::arange(1, 5);
}

TEST(FrechetInterval, LeavesEachBlockOutOnce) {
  const Tensor x = fake_features();
  const FrechetReference reference(real_moments());
  const FrechetEstimate estimate = frechet_interval(x, reference, 7, 3);
  const double whole = reference.distance(moments_of(x));
  EXPECT_NEAR(estimate.value, whole, 1e-11);
  ASSERT_EQ(estimate.pseudovalues.size(0), 7);
  const auto blocks = NumpyRandom(3).permutation(180).tensor_split(7);
  for (size_t i = 0; i < blocks.size(); ++i) {
    Tensor kept = at::ones({180}, at::kBool);
    kept.index_fill_(0, blocks[i], 0);
    const double left = reference.distance(moments_of(x.index({kept})));
    EXPECT_NEAR(estimate.pseudovalues[int64_t(i)].item<double>(), 7 * whole - 6 * left, 1e-9);
  }
}

TEST(FrechetInterval, IsAsWideAsDistancesOfManySetsVary) {
  at::manual_seed(1);
  const FrechetReference reference(moments_of(random_features(4000) * 1.2));
  std::vector<double> values, corrected, margins;
  for (int i = 0; i < 200; ++i) {
    const FrechetEstimate estimate = frechet_interval(random_features(200), reference);
    values.push_back(estimate.value);
    corrected.push_back(estimate.corrected);
    margins.push_back(estimate.margin);
  }
  const double deviation = at::tensor(values, at::kDouble).std().item<double>();
  const double margin = at::tensor(margins, at::kDouble).mean().item<double>();
  EXPECT_NEAR(margin / (2.093 * deviation), 1, 0.1);  // t of 19 degrees of freedom
  const double truth = reference.distance(moments_of(random_features(200000)));
  const double bias = at::tensor(values, at::kDouble).mean().item<double>() - truth;
  const double left = at::tensor(corrected, at::kDouble).mean().item<double>() - truth;
  EXPECT_GT(bias, 3 * std::abs(left));
}

TEST(FrechetInterval, OfDifferencesIsNarrowForTheSameSeeds) {
  const FrechetReference reference(real_moments());
  const Tensor x = fake_features();
  const auto a = frechet_interval(x, reference), b = frechet_interval(x * 1.01, reference);
  EXPECT_NEAR(paired_margin(a, a), 0, 1e-12);
  EXPECT_LT(paired_margin(a, b), 0.2 * a.margin);
  EXPECT_GT(paired_margin(a, b), 0);
  EXPECT_THROW(paired_margin(a, frechet_interval(x, reference, 10)), Error);
}

TEST(FrechetInterval, HoldsWithFewerImagesThanFeatures) {
  const FrechetReference reference(real_moments());
  const auto estimate = frechet_interval(fake_features().slice(0, 0, 12), reference, 6);
  EXPECT_TRUE(std::isfinite(estimate.margin));
  EXPECT_GT(estimate.margin, 0);
}

TEST(FrechetInterval, RefusesTooFew) {
  const FrechetReference reference(real_moments());
  EXPECT_THROW(frechet_interval(fake_features().slice(0, 0, 39), reference), Error);
  EXPECT_THROW(frechet_interval(fake_features(), reference, 5), Error);
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

TEST(Frechet, WhatIsNoCovarianceIsRefused) {
  const Tensor mean = at::zeros({3}, at::kDouble), unit = at::eye(3, at::kDouble);
  EXPECT_THROW(FrechetReference({10, mean, -unit}), Error);
  EXPECT_THROW(FrechetReference({10, mean, at::diag(at::tensor({1.0, -0.1, 1.0}, at::kDouble))}),
               Error);
  EXPECT_NO_THROW(FrechetReference({10, mean, at::zeros({3, 3}, at::kDouble)}));
}

}  // namespace
}  // namespace tiller::test
