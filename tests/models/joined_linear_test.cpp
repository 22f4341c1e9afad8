#include "models/joined_linear.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "models/device.h"
#include "models/residency.h"
#include "tests/models/formula.h"

namespace tiller::test {
namespace {

struct Projections {
  Weights weights{5};
  Linear q = take_linear(weights, "q", 24, 40, false), k = take_linear(weights, "k", 24, 8, false),
         v = take_linear(weights, "v", 24, 16, false);
  std::vector<const Linear*> all() const { return {&q, &k, &v}; }
};

std::vector<Tensor> one_by_one(const Projections& layers, const Tensor& x) {
  return {layers.q(x), layers.k(x), layers.v(x)};
}

TEST(JoinedLinear, WeightsBecomePartsOfOne) {
  Projections layers;
  const Tensor x = formula_tensor("x", {2, 7, 24});
  const auto before = one_by_one(layers, x);
  const Tensor joined = joined_weight(layers.all());
  EXPECT_EQ(joined.sizes(), at::IntArrayRef({64, 24}));
  EXPECT_TRUE(at::linear(x, joined).allclose(at::cat(before, -1), 1e-6, 1e-6));
  const auto after = one_by_one(layers, x);
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(after[i].equal(before[i]));
}

TEST(JoinedLinear, IsMadeOnceAndSeesNewValues) {
  Projections layers;
  const NamedTensors parameters = layers.weights.finish();
  const Tensor joined = joined_weight(layers.all());
  EXPECT_TRUE(joined_weight(layers.all()).is_alias_of(joined));
  parameters[1].second.add_(1);
  EXPECT_TRUE(joined.narrow(0, 40, 8).equal(layers.k.weight));
  layers.k.weight.set_data(layers.k.weight.clone());
  const Tensor again = joined_weight(layers.all());
  EXPECT_FALSE(again.is_alias_of(joined));
  EXPECT_TRUE(again.equal(joined));
}

/// A ControlNet's weights are read in inference mode, and joined there or outside of it.
TEST(JoinedLinear, TakesWeightsOfInferenceMode) {
  const auto make = [] {
    const c10::InferenceMode inference;
    return std::make_unique<Projections>();
  };
  for (const bool inside : {false, true}) {
    const auto layers = make();
    const c10::InferenceMode inference(inside);
    const Tensor expected = at::cat({layers->q.weight, layers->k.weight, layers->v.weight});
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(joined_weight(layers->all()).equal(expected));
    EXPECT_TRUE(layers->q.weight.is_inference());
  }
}

/// The same the other way round: weights that are trained later, joined in inference mode.
TEST(JoinedLinear, LeavesWeightsAsTheyAre) {
  const Projections layers;
  {
    const c10::InferenceMode inference;
    joined_weight(layers.all());
    joined_weight(layers.all());
  }
  EXPECT_FALSE(layers.q.weight.is_inference());
  EXPECT_TRUE(joined_weight(layers.all()).is_alias_of(layers.q.weight));
}

TEST(JoinedLinearCuda, EqualsTheLayersAlone) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  Projections layers;
  const Tensor x = formula_tensor("x", {2, 7, 24});
  const auto expected = one_by_one(layers, x);
  move_to(layers.weights.finish(), at::kCUDA);
  const Conditioning none;
  const Branch branch{&none};
  Rows rows(std::span(&branch, 1), 2);
  const auto got = apply_joined(rows, x.to(at::kCUDA), layers.all());
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(got[i].cpu().allclose(expected[i], 1e-4, 1e-5));
  EXPECT_TRUE(layers.k.weight.is_alias_of(layers.q.weight));
}

}  // namespace
}  // namespace tiller::test
