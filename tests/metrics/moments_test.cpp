#include "metrics/moments.h"

#include "io/error.h"
#include "tests/metrics/feature_sets.h"

namespace tiller::test {
namespace {

void expect_equal(const Moments& got, const Moments& expected, double tolerance) {
  EXPECT_EQ(got.count, expected.count);
  EXPECT_LT(relative_error(got.mean, expected.mean), tolerance);
  EXPECT_LT(relative_error(got.covariance, expected.covariance), tolerance);
}

TEST(Moments, EqualNumpy) {
  const Json& reference = metrics_reference().at("frechet");
  const Moments moments = moments_of(fake_features());
  EXPECT_EQ(moments.count, 180);
  EXPECT_LT(relative_error(moments.mean, tensor_from(reference.at("mean"))), 1e-14);
  EXPECT_NEAR(moments.covariance.trace().item<double>(), reference.at("trace"), 1e-11);
  EXPECT_LT(relative_error(moments.covariance, at::cov(fake_features().t())), 1e-13);
}

TEST(Moments, PartsAddUpToTheWhole) {
  const Tensor features = fake_features();
  MomentSum whole(24);
  whole.add(features);
  std::vector<MomentSum> parts;
  for (int i = 0; i < 3; ++i) parts.emplace_back(24);
  for (int64_t i = 0; i < features.size(0); ++i)
    parts[static_cast<size_t>(i) % 3].add(features.slice(0, i, i + 1));
  MomentSum merged(24);
  for (const size_t i : {2, 0, 1}) merged.merge(parts[i]);
  expect_equal(merged.moments(), whole.moments(), 1e-13);
}

TEST(Moments, SumsCanBeSavedAndAllReduced) {
  const Tensor features = fake_features();
  MomentSum a(24), b(24), whole(24), restored(24);
  a.add(features.slice(0, 0, 50));
  b.add(features.slice(0, 50));
  whole.add(features);
  restored.sums().copy_(a.sums() + b.sums());
  EXPECT_EQ(restored.count(), 180);
  expect_equal(restored.moments(), whole.moments(), 1e-13);
}

TEST(Moments, AnOriginNearTheMeanKeepsDigits) {
  const Tensor features = fake_features();
  const Moments expected = moments_of(features);
  MomentSum shifted(at::full({24}, 1e8, at::kDouble));
  shifted.add(features + 1e8);
  EXPECT_LT(relative_error(shifted.moments().covariance, expected.covariance), 1e-7);
  EXPECT_LT(relative_error(moments_of(features + 1e8).covariance, expected.covariance), 1e-7);
}

TEST(Moments, TakeAnyFloatingType) {
  MomentSum sum(24);
  for (const auto type : {at::kHalf, at::kBFloat16, at::kFloat})
    sum.add(real_features().to(at::kHalf).to(type));
  EXPECT_EQ(sum.count(), 450);
  EXPECT_LT(relative_error(sum.moments().mean, moments_of(real_features()).mean), 2e-2);
}

TEST(Moments, RefuseWhatDoesNotFit) {
  MomentSum sum(24);
  EXPECT_THROW(sum.add(at::zeros({2, 23})), Error);
  EXPECT_THROW(sum.add(at::zeros({24})), Error);
  EXPECT_THROW(sum.add(at::zeros({2, 24}, at::kLong)), Error);
  EXPECT_THROW(sum.add(at::full({1, 24}, std::nan(""))), Error);
  EXPECT_THROW(sum.add(at::full({1, 24}, INFINITY)), Error);
  EXPECT_THROW(sum.merge(MomentSum(23)), Error);
  EXPECT_THROW(sum.merge(MomentSum(at::ones({24}))), Error);
  EXPECT_EQ(sum.count(), 0);
  EXPECT_THROW(sum.moments(), Error);
  sum.add(at::zeros({0, 24}));
  sum.add(at::zeros({1, 24}));
  EXPECT_THROW(sum.moments(), Error);
  sum.add(at::zeros({1, 24}));
  EXPECT_EQ(sum.moments().covariance.abs().max().item<double>(), 0);
}

}  // namespace
}  // namespace tiller::test
