#include "models/group_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/models/formula.h"

namespace tiller::test {
namespace {

struct Case {
  int64_t rows, channels, height, width, groups;
  bool silu, modulated, added = false;
};

const std::vector<Case> kCases = {
    {2, 32, 5, 7, 32, true, true},       {1, 32, 1, 1, 1, true, false},
    {3, 20, 3, 3, 4, true, true},        {2, 6, 4, 4, 2, false, true},
    {1, 64, 40, 33, 8, true, true},      {2, 33, 17, 16, 3, true, true},
    {5, 16, 1, 1, 4, false, false},      {2, 1, 3, 2, 1, true, true},
    {4, 96, 8, 8, 32, true, false},      {1, 128, 2, 2, 32, false, true},
    {3, 20, 7, 5, 5, true, false, true}, {2, 40, 9, 3, 8, true, true, true},
};

std::string text_of(const Case& c) {
  return std::to_string(c.rows) + "x" + std::to_string(c.channels) + "x" +
         std::to_string(c.height) + "x" + std::to_string(c.width) + " in " +
         std::to_string(c.groups) + (c.silu ? " silu" : "") + (c.modulated ? " modulated" : "") +
         (c.added ? " added" : "");
}

struct Arguments {
  Tensor x, weight, bias, modulation, added, dy;
  RowTerms terms() const { return {modulation, added}; }
};

Tensor channels_last(const Tensor& x) { return x.contiguous(at::MemoryFormat::ChannelsLast); }

Arguments arguments_of(const Case& c) {
  Arguments a;
  const std::vector<int64_t> shape = {c.rows, c.channels, c.height, c.width};
  a.x = channels_last(2 * formula_tensor("x", shape) + 0.5);
  a.dy = channels_last(formula_tensor("dy", shape));
  a.weight = formula_weight("weight", {c.channels});
  a.bias = formula_weight("bias", {c.channels});
  if (c.modulated) a.modulation = formula_tensor("modulation", {c.rows, 2 * c.channels});
  if (c.added) a.added = 3 * formula_tensor("added", {c.rows, c.channels});
  return a;
}

RowTerms in_double(const RowTerms& terms) {
  const auto wide = [](const Tensor& t) { return t.defined() ? t.to(at::kDouble) : t; };
  return {wide(terms.modulation), wide(terms.added), wide(terms.offset)};
}

using Norm = decltype(group_norm);

/// y and the gradients of x, weight, bias, modulation and added (if any) of the sum of y * dy.
std::vector<Tensor> run(Norm& norm, const Arguments& a, const Case& c, at::ScalarType dtype,
                        bool twice = false) {
  const auto leaf = [&](const Tensor& t) {
    return t.defined() ? t.to(dtype).detach().requires_grad_() : t;
  };
  const Tensor x = leaf(a.x), weight = leaf(a.weight), bias = leaf(a.bias);
  const RowTerms terms{leaf(a.modulation), leaf(a.added)};
  const GroupNormOptions options{c.groups, 1e-5, c.silu};
  Tensor y = norm(x, weight, bias, options, terms);
  if (twice) y = norm(y, weight, bias, options, terms);
  (y * a.dy.to(dtype)).sum().backward();
  std::vector<Tensor> result = {y.detach(), x.grad(), weight.grad(), bias.grad()};
  for (const Tensor& t : {terms.modulation, terms.added})
    if (t.defined()) result.push_back(t.grad());
  return result;
}

void expect_near(const std::vector<Tensor>& actual, const std::vector<Tensor>& expected,
                 double tolerance) {
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    const Tensor difference = (actual[i].to(at::kDouble) - expected[i].to(at::kDouble)).abs();
    const double scale = std::max(1.0, expected[i].abs().max().item<double>());
    EXPECT_LT(difference.max().item<double>() / scale, tolerance) << "of result " << i;
  }
}

TEST(GroupNorm, EqualsLibTorchsWithGradients) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(text_of(c));
    const Arguments a = arguments_of(c);
    expect_near(run(group_norm, a, c, at::kFloat), run(group_norm_reference, a, c, at::kDouble),
                2e-5);
  }
}

TEST(GroupNorm, MayFollowItselfWithTheSameParameters) {
  const Case c{3, 32, 6, 5, 8, true, true};
  const Arguments a = arguments_of(c);
  expect_near(run(group_norm, a, c, at::kFloat, true),
              run(group_norm_reference, a, c, at::kDouble, true), 2e-5);
}

TEST(GroupNorm, TakesOtherLayoutsAndDtypes) {
  const Case c{2, 8, 3, 5, 4, true, true};
  Arguments a = arguments_of(c);
  const auto expected = run(group_norm_reference, a, c, at::kDouble);
  expect_near(run(group_norm, a, c, at::kDouble), expected, 1e-12);
  a.x = a.x.contiguous();
  expect_near(run(group_norm, a, c, at::kFloat), expected, 2e-5);
}

/// bfloat16 keeps 8 bits, float16 11: a result is the float32 result of the same input, rounded.
class GroupNormRounds : public testing::TestWithParam<std::pair<at::ScalarType, double>> {};

INSTANTIATE_TEST_SUITE_P(To, GroupNormRounds,
                         testing::Values(std::pair(at::kBFloat16, 1.0 / 256),
                                         std::pair(at::kHalf, 1.0 / 2048)));

TEST_P(GroupNormRounds, Once) {
  const auto [dtype, rounding] = GetParam();
  for (const Case& c : kCases) {
    SCOPED_TRACE(text_of(c));
    const Arguments a = arguments_of(c);
    const Tensor x = a.x.to(dtype);
    const GroupNormOptions options{c.groups, 1e-5, c.silu};
    const Tensor y = group_norm(x, a.weight, a.bias, options, a.terms());
    ASSERT_EQ(y.scalar_type(), dtype);
    const Tensor exact =
        group_norm_reference(x.to(at::kDouble), a.weight.to(at::kDouble), a.bias.to(at::kDouble),
                             options, in_double(a.terms()));
    const Tensor error = (y.to(at::kDouble) - exact).abs() - exact.abs() * rounding;
    EXPECT_LT(error.max().item<double>(), 1e-5);
  }
}

TEST(GroupNorm, GradientsInBFloat16) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(text_of(c));
    Arguments a = arguments_of(c);
    for (Tensor* t : {&a.x, &a.dy}) *t = t->to(at::kBFloat16).to(at::kFloat);
    const Tensor x = a.x.to(at::kBFloat16).requires_grad_();
    const Tensor y = group_norm(x, a.weight, a.bias, {c.groups, 1e-5, c.silu}, a.terms());
    y.backward(a.dy.to(at::kBFloat16));
    const auto expected = run(group_norm_reference, a, c, at::kDouble);
    expect_near({x.grad()}, {expected[1]}, 1.0 / 256);
  }
}

TEST(GroupNorm, UnderAutocastKeepsTheDtypeOfItsInput) {
  const Case c{2, 32, 4, 4, 8, true, true};
  const Arguments a = arguments_of(c);
  at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
  at::autocast::set_autocast_enabled(at::kCPU, true);
  const Tensor y = group_norm(a.x.to(at::kBFloat16), a.weight, a.bias, {8, 1e-5, true},
                              {a.modulation.to(at::kBFloat16)});
  at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(at::kCPU, false);
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
}

/// The sum isn't written out, nor rounded, where nobody wants gradients.
TEST(GroupNorm, AddsRowsWithoutGradients) {
  const Case c{3, 40, 9, 9, 8, true, true, true};
  const Arguments a = arguments_of(c);
  const GroupNormOptions options{8, 1e-5, true};
  const Tensor expected =
      group_norm_reference(a.x.to(at::kDouble), a.weight.to(at::kDouble), a.bias.to(at::kDouble),
                           options, in_double(a.terms()));
  expect_near({group_norm(a.x, a.weight, a.bias, options, a.terms())}, {expected}, 2e-5);
}

/// As a convolution's bias comes in, beside what is added to each row or alone.
TEST(GroupNorm, AddsAnOffsetToAllRows) {
  const Case c{2, 24, 5, 6, 8, true, false, true};
  const Arguments a = arguments_of(c);
  const Tensor offset = 2 * formula_tensor("offset", {24});
  const auto result = [&](const RowTerms& terms, Norm& norm) {
    return norm(a.x, a.weight, a.bias, {8, 1e-5, true}, terms);
  };
  for (Norm* norm : {&group_norm, &group_norm_reference}) {
    EXPECT_TRUE(
        at::equal(result({{}, a.added, offset}, *norm), result({{}, a.added + offset}, *norm)));
    EXPECT_TRUE(
        at::equal(result({{}, {}, offset}, *norm), result({{}, offset.expand({2, 24})}, *norm)));
  }
  EXPECT_GT(
      (result({{}, {}, offset}, group_norm) - result({}, group_norm)).abs().max().item<float>(),
      0.1);
}

TEST(GroupNorm, IsTheSameWithoutGradients) {
  const Case c{2, 40, 9, 9, 8, true, true};
  const Arguments a = arguments_of(c);
  const auto result = [&] { return group_norm(a.x, a.weight, a.bias, {8, 1e-5, true}, a.terms()); };
  const Tensor expected = run(group_norm, a, c, at::kFloat).front();
  EXPECT_TRUE(at::equal(result(), expected));
  const c10::InferenceMode guard;
  EXPECT_TRUE(at::equal(result(), expected));
}

TEST(GroupNorm, RowsDontTouchEachOther) {
  const Case c{3, 48, 20, 20, 16, true, true};
  const Arguments a = arguments_of(c);
  const GroupNormOptions options{16, 1e-5, true};
  const Tensor all = group_norm(a.x, a.weight, a.bias, options, a.terms());
  for (int64_t row = 0; row < c.rows; ++row)
    EXPECT_TRUE(
        at::equal(all.narrow(0, row, 1), group_norm(a.x.narrow(0, row, 1), a.weight, a.bias,
                                                    options, {a.modulation.narrow(0, row, 1)})));
}

TEST(GroupNorm, IsTheSameWithAnyNumberOfThreads) {
  const Case c{2, 24, 30, 30, 8, true, true};
  const Arguments a = arguments_of(c);
  const int threads = at::get_num_threads();
  std::vector<std::vector<Tensor>> results;
  for (const int n : {1, 2, 3}) {
    at::set_num_threads(n);
    results.push_back(run(group_norm, a, c, at::kFloat));
  }
  at::set_num_threads(threads);
  for (const auto& result : results)
    for (size_t i = 0; i < result.size(); ++i) EXPECT_TRUE(at::equal(result[i], results[0][i]));
}

/// A group far from zero keeps its variance: the sums are taken around one of its values.
TEST(GroupNorm, KeepsSmallVariancesAroundLargeMeans) {
  const Tensor x = channels_last(formula_tensor("x", {2, 16, 24, 24}) + 4096);
  const Tensor weight = at::ones({16}), bias = at::zeros({16});
  const Tensor expected =
      group_norm_reference(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble), {4});
  expect_near({group_norm(x, weight, bias, {4})}, {expected}, 2e-3);
}

TEST(GroupNorm, LetsNonFiniteValuesThrough) {
  Tensor x = channels_last(formula_tensor("x", {1, 32, 4, 4})).to(at::kBFloat16);
  x[0][3][1][1] = std::numeric_limits<float>::quiet_NaN();
  const Tensor y = group_norm(x, at::ones({32}), at::zeros({32}), {32, 1e-5, true});
  EXPECT_TRUE(y[0][3].isnan().all().item<bool>());
  EXPECT_FALSE(y[0][4].isnan().any().item<bool>());
}

TEST(GroupNorm, RefusesSecondDerivatives) {
  const Tensor x = channels_last(formula_tensor("x", {1, 4, 2, 2})).requires_grad_();
  const Tensor y = group_norm(x, at::ones({4}), at::zeros({4}), {2, 1e-5, true});
  EXPECT_ANY_THROW(torch::autograd::grad({y.sum()}, {x}, {}, true, /*create_graph=*/true));
}

}  // namespace
}  // namespace tiller::test
