#include "metrics/kid.h"

#include "io/error.h"
#include "metrics/numpy_random.h"
#include "tests/metrics/feature_sets.h"

namespace tiller::test {
namespace {

TEST(NumpyRandom, EqualsRandomState) {
  const Json& expected = metrics_reference().at("random");
  const auto numbers = [](const Tensor& t) {
    return std::vector<int64_t>(t.data_ptr<int64_t>(), t.data_ptr<int64_t>() + t.numel());
  };
  EXPECT_EQ(numbers(NumpyRandom(2020).permutation(12)),
            expected.at("short").get<std::vector<int64_t>>());
  const Tensor order = NumpyRandom(2020).permutation(70000);
  EXPECT_EQ(numbers(order.slice(0, 0, 8)), expected.at("long").get<std::vector<int64_t>>());
  EXPECT_EQ((order * at::arange(70000)).sum().item<int64_t>(), expected.at("digest"));
  NumpyRandom random(7);
  for (const Json& choice : expected.at("choices"))
    EXPECT_EQ(numbers(random.choice(40, 5)), choice.get<std::vector<int64_t>>());
}

TEST(Kid, EqualsTorchFidelity) {
  for (const Json& test : metrics_reference().at("kid").at("cases")) {
    const auto got = kernel_distance(fake_features(), real_features(),
                                     {test.at("subsets"), test.at("size"), 2020});
    EXPECT_NEAR(got.mean, test.at("mean"), 1e-12);
    EXPECT_NEAR(got.std, test.at("std"), 1e-12);
  }
}

TEST(Kid, OfWholeSetsEqualsTorchFidelity) {
  EXPECT_NEAR(squared_mmd(fake_features().slice(0, 0, 150), real_features()),
              metrics_reference().at("kid").at("whole"), 1e-12);
}

TEST(Kid, SubsetsShrinkToTheSmallerSet) {
  const auto shrunk = kernel_distance(fake_features(), real_features(), {7, 1000, 2020});
  EXPECT_NEAR(shrunk.mean, metrics_reference().at("kid").at("cases").at(1).at("mean"), 1e-12);
}

TEST(Kid, RefusesTooFewAndOtherWidths) {
  const Tensor real = real_features();
  EXPECT_THROW(kernel_distance(real.slice(0, 0, 1), real), Error);
  EXPECT_THROW(kernel_distance(real.slice(1, 1), real), Error);
  EXPECT_THROW(kernel_distance(real, real, {0, 10, 0}), Error);
  EXPECT_THROW(kernel_distance(real, real, {1, 1, 0}), Error);
}

}  // namespace
}  // namespace tiller::test
