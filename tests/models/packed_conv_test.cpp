#include "models/packed_conv.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <vector>

#include "io/parallel.h"

namespace tiller {
namespace {

Tensor plain(const Tensor& x, const Tensor& weight, const Tensor& bias, int64_t stride) {
  return at::conv2d(x, weight, bias, stride, 1);
}

float largest(const Tensor& x) { return x.abs().max().item<float>(); }

TEST(PackedConv, EqualsThePlainConvolution) {
  at::manual_seed(1);
  for (const auto layout : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast})
    for (const int64_t stride : {1, 2})
      for (const auto& [rows, channels, size] :
           {std::array<int64_t, 3>{1, 3, 9}, {2, 32, 8}, {1, 48, 17}}) {
        const Tensor x = at::randn({rows, channels, size, size}).contiguous(layout);
        const Tensor weight = at::randn({40, channels, 3, 3}).contiguous(layout) / channels;
        const Tensor bias = at::randn({40});
        const PackedConv packed;
        for (const Tensor& b : {bias, Tensor()}) {
          const Tensor y = packed(x, weight, b, stride, 1);
          ASSERT_TRUE(y.defined());
          EXPECT_LT(largest(y - plain(x, weight, b, stride)), 1e-5) << rows << ' ' << channels;
        }
      }
}

TEST(PackedConv, FollowsAWeightThatChanges) {
  at::manual_seed(2);
  for (const int64_t channels : {8, 40}) {
    const Tensor x = at::randn({1, channels, 6, 6});
    Tensor weight = at::randn({channels, channels, 3, 3}) / channels;
    const PackedConv packed;
    packed(x, weight, {}, 1, 1);
    weight.mul_(2);
    EXPECT_LT(largest(packed(x, weight, {}, 1, 1) - plain(x, weight, {}, 1)), 1e-5);
    weight.set_data(at::randn({channels, channels, 3, 3}) / channels);
    EXPECT_LT(largest(packed(x, weight, {}, 1, 1) - plain(x, weight, {}, 1)), 1e-5);
  }
}

/// As windows and the whole image of swg ask in turn.
TEST(PackedWeight, KeepsTwoForms) {
  const Tensor weight = at::randn({4, 4});
  const PackedWeight packed;
  int packs = 0;
  const auto ask = [&](bool other) {
    return packed(weight, other, [&] { return at::full({1}, double(++packs)); }).item<double>();
  };
  for (int turn = 0; turn < 3; ++turn) {
    EXPECT_EQ(ask(false), 1);
    EXPECT_EQ(ask(true), 2);
  }
  at::NoGradGuard guard;
  weight.add_(1);
  EXPECT_EQ(ask(true), 3);
  EXPECT_EQ(ask(false), 4);
}

TEST(PackedConv, LeavesGradientsAndPointwiseKernelsAlone) {
  const PackedConv packed;
  const Tensor x = at::ones({1, 4, 4, 4}), weight = at::ones({4, 4, 3, 3});
  EXPECT_FALSE(packed(x, weight.clone().requires_grad_(), {}, 1, 1).defined());
  EXPECT_FALSE(packed(x, at::ones({4, 4, 1, 1}), {}, 1, 0).defined());
}

TEST(PackedConv, KeepsLargeWeightsWhereThatIsAllowed) {
  const Tensor x = at::ones({1, 512, 4, 4}), large = at::ones({512, 512, 3, 3}),
               small = at::ones({8, 512, 3, 3});
  const PackedConv packed, other;
  keep_packed_weights(false);
  EXPECT_FALSE(packed(x, large, {}, 1, 1).defined());
  EXPECT_TRUE(other(x, small, {}, 1, 1).defined());
  keep_packed_weights(true);
  EXPECT_TRUE(packed(x, large, {}, 1, 1).defined());
}

TEST(ParallelFor, CoversTheRangeAndPassesOnWhatIsThrown) {
  std::vector<int> seen(1000);
  parallel_for(0, 1000, 10, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++seen[i];
  });
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), 1000);
  const auto failing = [](int64_t, int64_t) { throw std::runtime_error("here"); };
  EXPECT_THROW(parallel_for(0, 4, 1, failing), std::runtime_error);
}

}  // namespace
}  // namespace tiller
