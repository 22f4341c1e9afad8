#include "tools/init_image.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace tiller::test {
namespace {

using at::Tensor;

TEST(Covering, ScalesAndCropsTheMiddle) {
  const Tensor ramp = at::arange(64).view({1, 1, 64}).expand({3, 32, 64}).to(at::kByte);
  const Tensor same = covering(ramp, {32, 32});
  ASSERT_EQ(same.sizes(), (std::vector<int64_t>{1, 3, 32, 32}));
  EXPECT_LT((same[0][0][0] - at::arange(16, 48)).abs().max().item<double>(), 1e-3);
}

/// A strip of a million pixels isn't scaled whole: that took gigabytes.
TEST(Covering, LongStripsAreCutFirst) {
  const int64_t length = 1 << 20;
  Tensor strip = at::zeros({3, 1, length}, at::kByte);
  strip.slice(2, length / 2 - 64, length / 2 + 64).fill_(200);
  for (const Tensor& image : {strip, strip.transpose(1, 2)}) {
    const Tensor covered = covering(image, {32, 32});
    ASSERT_EQ(covered.sizes(), (std::vector<int64_t>{1, 3, 32, 32}));
    EXPECT_LT((covered - 200).abs().max().item<double>(), 1e-3);
  }
}

}  // namespace
}  // namespace tiller::test
