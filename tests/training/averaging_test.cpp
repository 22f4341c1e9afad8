#include "training/averaging.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/error.h"

namespace tiller::test {
namespace {

TEST(Averaging, RampsUpToItsDecay) {
  const Averaging slow = averaging_from("0.9999"), quick = averaging_from("0.9");
  EXPECT_NEAR(kept_share(slow, 1, 64), 2.0 / 11, 1e-12);
  EXPECT_NEAR(kept_share(slow, 90, 64), 0.91, 1e-12);
  EXPECT_NEAR(kept_share(quick, 1000000, 64), 0.9, 1e-12);
  EXPECT_EQ(kept_share(averaging_from("0"), 1, 64), 0);
}

/// EDM's training loop: half-life min(value, 0.05 images seen before).
TEST(Averaging, KeepsHalfOverItsHalfLife) {
  const Averaging average = averaging_from("half-life=1000");
  double kept = 1;
  for (int64_t step = 10000; step < 10100; ++step) kept *= kept_share(average, step, 10);
  EXPECT_NEAR(kept, 0.5, 1e-12);
  EXPECT_NEAR(kept_share(average, 10, 10), std::exp2(-10 / (0.05 * 90)), 1e-12);
  EXPECT_EQ(kept_share(average, 1, 10), 0);
}

/// The standard deviation of the weights' ages at the end, as a share of the run: EDM2's definition
/// of a width.
double width_of(const Averaging& average, int64_t steps) {
  double mean = 0, square = 0, left = 1;
  for (int64_t step = steps; step > 0; --step) {
    const double kept = kept_share(average, step, 1), weight = left * (1 - kept);
    const double at = double(step) / double(steps);
    mean += weight * at, square += weight * at * at, left *= kept;
  }
  return std::sqrt(square - mean * mean);
}

TEST(Averaging, APowerFunctionHasItsWidth) {
  for (const double width : {0.05, 0.1, 0.25})
    EXPECT_NEAR(width_of(averaging_from("power=" + std::to_string(width)), 20000), width,
                1e-3 * width);
  EXPECT_NEAR(kept_share(averaging_from("power=0.1"), 1, 8), 0, 1e-12) << "the start is forgotten";
}

TEST(Averaging, GoesToTheWeights) {
  std::vector<Tensor> average = {at::full({2}, 1.0)}, weights = {at::full({2}, 5.0)};
  update_average(average, weights, 0.75);
  EXPECT_TRUE(at::allclose(average[0], at::full({2}, 2.0)));
}

TEST(Averaging, RefusesOthers) {
  for (const char* text :
       {"", "1.5", "-0.1", "0.9x", "half-life=0", "power=0.4", "power=", "age=3"})
    EXPECT_THROW(averaging_from(text), UsageError) << text;
}

}  // namespace
}  // namespace tiller::test
