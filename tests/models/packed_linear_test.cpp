#include "models/packed_linear.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>

#include <array>

#include "models/layers.h"

namespace tiller {
namespace {

bool served() { return at::get_cpu_capability() == "AVX512"; }

double linear_error(const Tensor& a, const Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

struct LinearCase {
  Tensor x, weight, bias;
};

LinearCase random_linear(int64_t rows, int64_t tokens, int64_t in, int64_t out) {
  at::manual_seed(rows + tokens + in + out);
  return {at::randn({rows, tokens, in}), at::randn({out, in}), at::randn({out})};
}

TEST(PackedLinear, EqualsThePlainProduct) {
  if (!served()) GTEST_SKIP() << "no AVX-512";
  for (const auto& [rows, tokens, in, out] : {std::array<int64_t, 4>{1, 2, 3, 21'900},
                                              {2, 77, 700, 100},
                                              {1, 333, 320, 2560},
                                              {3, 64, 1400, 47}}) {
    const LinearCase c = random_linear(rows, tokens, in, out);
    const PackedLinear packed(true), of_kernel(true);
    for (const Tensor& bias : {c.bias, Tensor()}) {
      const Tensor expected = at::linear(c.x, c.weight, bias), y = packed(c.x, c.weight, bias);
      ASSERT_TRUE(y.defined());
      EXPECT_EQ(y.sizes(), expected.sizes());
      EXPECT_LT(linear_error(y, expected), 1e-5) << in << ' ' << out;
      EXPECT_TRUE(y.equal(of_kernel(c.x, c.weight.view({out, in, 1, 1}), bias)));
    }
  }
}

TEST(PackedLinear, ReadsWhatIsNotContiguous) {
  if (!served()) GTEST_SKIP() << "no AVX-512";
  const LinearCase c = random_linear(2, 12, 400, 240);
  const PackedLinear packed(true), other(true);
  const Tensor x = c.x.transpose(1, 2).contiguous().transpose(1, 2);
  const Tensor weight = c.weight.t().contiguous().t();
  EXPECT_TRUE(other(x, weight, c.bias).equal(packed(c.x, c.weight, c.bias)));
}

TEST(PackedLinear, RowsDependNeitherOnTheirNumberNorOnThreads) {
  if (!served()) GTEST_SKIP() << "no AVX-512";
  const int before = at::get_num_threads();
  for (const auto& [in, out] :
       {std::array<int64_t, 2>{320, 320}, {1280, 320}, {700, 100}, {133, 640}}) {
    const LinearCase c = random_linear(1, 4096, in, out);
    const PackedLinear packed(true);
    at::set_num_threads(1);
    const Tensor all = packed(c.x, c.weight, c.bias);
    for (const int threads : {1, 2, 3}) {
      at::set_num_threads(threads);
      for (const int64_t n : {2, 3, 7, 16, 77, 1001, 4096}) {
        const Tensor part = packed(c.x.narrow(1, 0, n), c.weight, c.bias);
        EXPECT_TRUE(part.equal(all.narrow(1, 0, n))) << n << " tokens, " << threads << " threads";
      }
      const Tensor batch = c.x.narrow(1, 0, 1001).view({13, 77, in});
      EXPECT_TRUE(packed(batch, c.weight, c.bias).flatten(0, 1).equal(all[0].narrow(0, 0, 1001)));
    }
  }
  at::set_num_threads(before);
}

TEST(PackedLinear, FollowsAWeightThatChanges) {
  if (!served()) GTEST_SKIP() << "no AVX-512";
  const LinearCase c = random_linear(1, 9, 240, 400);
  const PackedLinear packed(true);
  Tensor weight = c.weight.clone();
  const Tensor first = packed(c.x, weight, {});
  weight.mul_(2);
  EXPECT_TRUE(packed(c.x, weight, {}).equal(first * 2));
  weight.set_data(c.weight * 4);
  EXPECT_TRUE(packed(c.x, weight, {}).equal(first * 4));
}

TEST(PackedLinear, LeavesTheRestAlone) {
  const LinearCase c = random_linear(1, 9, 240, 400);
  const auto packs = [](const Tensor& x, const Tensor& weight) {
    return PackedLinear(true)(x, weight, {}).defined();
  };
  EXPECT_EQ(packs(c.x, c.weight), served());
  EXPECT_FALSE(PackedLinear()(c.x, c.weight, {}).defined());
  EXPECT_FALSE(packs(c.x.clone().requires_grad_(), c.weight));
  EXPECT_FALSE(packs(c.x, c.weight.clone().requires_grad_()));
  EXPECT_FALSE(packs(c.x.narrow(1, 0, 1), c.weight));
  EXPECT_FALSE(packs(c.x.flatten(0, 1), c.weight));
  EXPECT_FALSE(packs(c.x.to(at::kBFloat16), c.weight.to(at::kBFloat16)));
  at::autocast::set_autocast_enabled(at::kCPU, true);
  EXPECT_FALSE(packs(c.x, c.weight));
  at::autocast::set_autocast_enabled(at::kCPU, false);
  const LinearCase small = random_linear(1, 9, 256, 256);
  EXPECT_FALSE(packs(small.x, small.weight));
  keep_packed_linears(false);
  EXPECT_FALSE(packs(c.x, c.weight));
  keep_packed_linears(true);
}

TEST(PackedLinear, IsOfLayersThatRunOverTokens) {
  if (!served()) GTEST_SKIP() << "no AVX-512";
  Weights weights(7);
  const Linear layer = take_token_linear(weights, "a", 1280, 320);
  const LinearCase c = random_linear(1, 64, 1280, 320);
  const Tensor packed = PackedLinear(true)(c.x, layer.weight, layer.bias);
  EXPECT_TRUE(layer(c.x).equal(packed));
  keep_packed_linears(false);
  EXPECT_TRUE(layer(c.x).equal(at::linear(c.x, layer.weight, layer.bias)));
  keep_packed_linears(true);
  EXPECT_FALSE(
      take_linear(weights, "b", 8, 8).packed(c.x.narrow(2, 0, 8), at::ones({8, 8}), {}).defined());
}

}  // namespace
}  // namespace tiller
