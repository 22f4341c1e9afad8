#include "models/combination.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/models/formula.h"

namespace tiller::test {
namespace {

Tensor values(const std::string& name) { return formula_tensor(name, {2, 3, 5, 7}); }

TEST(Combination, IsTheSum) {
  const Tensor a = values("a"), b = values("b"), c = values("c");
  const Combination sum = (2 * (Combination(a) - 3 * Combination(b)) + c) / 4;
  EXPECT_TRUE(sum.tensor().allclose(a / 2 - 1.5 * b + c / 4, 1e-6, 1e-6));
  EXPECT_TRUE((a - Combination(b)).tensor().equal(a - b));
  EXPECT_TRUE((Combination(a) + b).tensor().equal(a + b));
}

TEST(Combination, ReadsATensorOnce) {
  const Tensor a = values("a"), b = values("b");
  const Combination sum = 3 * difference(a, b) + a;
  ASSERT_EQ(sum.terms().size(), 2u);
  EXPECT_EQ(sum.terms()[0].factor, 4);
  EXPECT_EQ(sum.terms()[1].factor, -3);
}

TEST(Combination, ATensorAloneIsItself) {
  const Tensor a = values("a");
  EXPECT_TRUE(Combination(a).tensor().is_same(a));
  EXPECT_TRUE((1 * Combination(a)).tensor().is_same(a));
  EXPECT_EQ(Combination(a.to(at::kBFloat16)).tensor().scalar_type(), at::kFloat);
}

TEST(Combination, IsComputedOnceAndAgainWhenChanged) {
  const Tensor a = values("a"), b = values("b");
  Combination sum = Combination(a) + b;
  const Tensor first = sum;
  EXPECT_TRUE(sum.tensor().is_same(first));
  sum.add(b, 1);
  EXPECT_TRUE(sum.tensor().allclose(a + 2 * b, 1e-6, 1e-6));
  EXPECT_TRUE(sum.scale(0.5).tensor().allclose(a / 2 + b, 1e-6, 1e-6));
}

/// Guidance between equal branches changes no bit, whatever its scale.
TEST(Combination, EqualBranchesGuideNowhere) {
  const Tensor c = values("c"), u = c.clone();
  for (const double scale : {0.5, 1.1, 6.3, 99.7})
    EXPECT_TRUE((scale * difference(c, u) + c).tensor().equal(c)) << scale;
}

TEST(Combination, AnyLayoutGivesTheSameBits) {
  const Tensor a = values("a"), b = values("b"), big = formula_tensor("c", {3, 5, 97, 113});
  const auto last = at::MemoryFormat::ChannelsLast;
  const Tensor sum = 0.3 * Combination(a) + b;
  EXPECT_TRUE((0.3 * Combination(a.contiguous(last)) + b).tensor().equal(sum));
  const Tensor all = 0.3 * Combination(big) + 1.7 * Combination(big.sin());
  const Tensor part = 0.3 * Combination(big[1]) + 1.7 * Combination(big.sin()[1]);
  EXPECT_TRUE(all[1].equal(part));
}

/// Whether somebody looked must not change digits: terms stay as they are.
TEST(Combination, ReadingLeavesTheTerms) {
  const Tensor a = values("a"), b = values("b");
  const Combination read = 0.1 * difference(a, b), unread = 0.1 * difference(a, b);
  EXPECT_TRUE(read.tensor().defined());
  EXPECT_TRUE((read + 0.3 * Combination(b)).tensor().equal(unread + 0.3 * Combination(b)));
}

TEST(Combination, IsFloat64WhereATermIs) {
  const Tensor a = values("a"), b = values("b").to(at::kDouble);
  const Tensor sum = 0.1 * Combination(a) + b;
  EXPECT_TRUE(sum.allclose(0.1 * a.to(at::kDouble) + b, 1e-15, 1e-15));
  EXPECT_EQ((0.1 * Combination(a.to(at::kBFloat16))).tensor().scalar_type(), at::kFloat);
}

TEST(Combination, OfNothingIsUndefined) {
  Combination none;
  EXPECT_FALSE(none.defined());
  EXPECT_FALSE(none.tensor().defined());
  EXPECT_FALSE(Combination(Tensor()).defined());
  const Tensor a = values("a");
  EXPECT_TRUE(none.add(a, 1).tensor().is_same(a));
}

TEST(Combination, IsDifferentiable) {
  const Tensor a = values("a").set_requires_grad(true), b = values("b");
  (3 * difference(a, b) - a).tensor().sum().backward();
  EXPECT_TRUE(a.grad().allclose(at::full_like(a, 2)));
}

TEST(Combination, RefusesShapesThatDiffer) {
  const Combination sum = Combination(values("a")) + values("b").narrow(3, 0, 1);
  EXPECT_THROW(sum.tensor(), c10::Error);
}

}  // namespace
}  // namespace tiller::test
