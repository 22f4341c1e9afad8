#include "metrics/inception_score.h"

#include "io/error.h"
#include "tests/metrics/feature_sets.h"

namespace tiller::test {
namespace {

TEST(InceptionScore, EqualsTorchFidelity) {
  const Tensor logits = formula_tensor("logits", {103, 12}) * 6;
  for (const Json& test : metrics_reference().at("inception_score")) {
    InceptionScoreOptions options{test.at("splits"), {}};
    if (test.at("shuffle")) options.shuffle = 2020;
    const InceptionScore got = inception_score(logits, options);
    EXPECT_NEAR(got.mean, test.at("mean"), 1e-12);
    EXPECT_NEAR(got.std, test.at("std"), 1e-12);
  }
}

TEST(InceptionScore, IsTheNumberOfClassesAtBestAndOneAtWorst) {
  EXPECT_NEAR(inception_score(at::eye(5) * 1e4, {1, {}}).mean, 5, 1e-12);
  EXPECT_NEAR(inception_score(at::ones({20, 5})).mean, 1, 1e-12);
  EXPECT_NEAR(inception_score(at::ones({20, 5}) * at::arange(5) * 1e4).mean, 1, 1e-12);
}

TEST(InceptionScore, RefusesFewerImagesThanSplits) {
  EXPECT_THROW(inception_score(at::zeros({9, 3})), Error);
  EXPECT_THROW(inception_score(at::zeros({9, 3}), {0, {}}), Error);
  EXPECT_THROW(inception_score(at::full({10, 3}, std::nan(""))), Error);
}

}  // namespace
}  // namespace tiller::test
