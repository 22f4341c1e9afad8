#include "models/fp8.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "models/device.h"
#include "models/layers.h"
#include "tests/cuda_on_cpu.h"
#include "tests/models/formula.h"
// Needs cuda_on_cpu.h's words.
#include "models/kernels/fp8.cuh"

namespace tiller::test {
namespace {

/// Rows of very different sizes, one of zeros, and one whose largest value is a boundary.
Tensor uneven_rows(int64_t columns) {
  const Tensor sizes = at::tensor({1.f, 1e-6f, 3e4f, 0.f, 448.f}).unsqueeze(1);
  Tensor x = formula_tensor("x", {5, columns});
  x[4] = x[4] / x[4].abs().max();
  return x * sizes;
}

Tensor plain(const Fp8Rows& rows) { return rows.values.to(at::kDouble) * rows.scales; }

double rms_error(const Tensor& a, const Tensor& b) {
  const Tensor wide = b.to(at::kDouble);
  return ((a.to(at::kDouble) - wide).norm() / wide.norm()).item<double>();
}

TEST(Fp8, RoundsRowsToThreeBitsOfMantissa) {
  const Tensor x = uneven_rows(40);
  const Fp8Rows rows = to_fp8(x);
  EXPECT_EQ(rows.values.scalar_type(), at::kFloat8_e4m3fn);
  const Tensor error = (plain(rows) - x).abs();
  // Half a step: 2^-4 of a value, or 2^-10 of the scale for subnormal ones.
  const Tensor allowed = at::maximum(x.abs() / 16, rows.scales / 1024);
  EXPECT_TRUE((error <= allowed).all().item<bool>());
  EXPECT_TRUE(rows.scales.equal(rows.scales.log2().round().exp2()));
  const Tensor most = (x.abs().amax(1, true) / rows.scales).index({at::tensor({0, 1, 2, 4})});
  EXPECT_GT(most.min().item<float>(), 224);
  EXPECT_LE(most.max().item<float>(), 448);
  EXPECT_EQ(rows.scales[4].item<float>(), 1);
}

TEST(Fp8, DecodesAllCodesWithoutRounding) {
  const Tensor codes = at::arange(256, at::kByte).view(at::kFloat8_e4m3fn);
  const Tensor known = codes.to(at::kFloat).isfinite();
  const Fp8Rows rows{codes.unsqueeze(0).contiguous(), at::full({1, 1}, 0.25f)};
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const Tensor got = from_fp8(rows, dtype);
    EXPECT_EQ(got.scalar_type(), dtype);
    const Tensor wrong = got.to(at::kDouble).ne(plain(rows)).logical_and(known);
    EXPECT_EQ(wrong.sum().item<int64_t>(), 0);
  }
  const Fp8Rows odd{rows.values.narrow(1, 0, 21), rows.scales};
  EXPECT_TRUE(from_fp8(odd, at::kFloat).to(at::kDouble).equal(plain(odd)));
}

TEST(Fp8, KeepsWhatIsNotFinite) {
  Tensor x = at::ones({4, 16});
  x[0][3] = NAN;
  x[1][15] = INFINITY;
  x[2][0] = -INFINITY;
  const Tensor got = from_fp8(to_fp8(x), at::kFloat);
  EXPECT_TRUE(got.narrow(0, 0, 3).isnan().all().item<bool>());
  EXPECT_TRUE(got[3].equal(x[3]));
}

template <class T>
void expect_kernel_equals_reference(const Tensor& x) {
  const Fp8Rows expected = to_fp8_reference(x);
  const Tensor values = at::zeros_like(expected.values), scales = at::zeros_like(expected.scales);
  cuda_on_cpu::launch({2}, {32, 4}, 0, [&] {
    kernels::fp8_rows_kernel<T>(x.const_data_ptr<T>(),
                                values.mutable_data_ptr<c10::Float8_e4m3fn>(),
                                scales.mutable_data_ptr<float>(), x.size(0), x.size(1));
  });
  EXPECT_TRUE(at::equal(scales.nan_to_num(-1), expected.scales.nan_to_num(-1)));
  const auto plain_values = [](const Tensor& x) { return x.to(at::kFloat).nan_to_num(1000); };
  EXPECT_TRUE(plain_values(values).equal(plain_values(expected.values)));
}

TEST(Fp8Kernel, EqualsTheReferenceOnTheCpu) {
  for (const int64_t columns : {1, 31, 80}) {
    Tensor x = uneven_rows(columns);
    x[1][columns / 2] = NAN;
    x[2][columns - 1] = INFINITY;
    expect_kernel_equals_reference<float>(x);
    expect_kernel_equals_reference<at::BFloat16>(x.to(at::kBFloat16));
    expect_kernel_equals_reference<at::Half>(x.to(at::kHalf));
  }
}

TEST(Fp8Linear, MultipliesRoundedValues) {
  const Tensor x = formula_tensor("x", {2, 5, 32}), w = formula_tensor("w", {48, 32}) / 32;
  const Tensor bias = formula_tensor("b", {48});
  const Fp8Rows weight = to_fp8(w);
  const Tensor rounded = plain(to_fp8(x.flatten(0, 1))).view(x.sizes());
  const Tensor exact = at::linear(rounded, plain(weight), bias.to(at::kDouble));
  EXPECT_LT(rms_error(fp8_linear(x, weight, bias), exact), 1e-6);
  const Tensor half = fp8_linear(x.to(at::kBFloat16), weight, bias.to(at::kBFloat16));
  EXPECT_LT(rms_error(half, exact), 1e-2);
  const double distance = rms_error(exact, at::linear(x, w, bias));
  EXPECT_GT(distance, 1e-4);
  EXPECT_LT(distance, 0.05);
}

TEST(Fp8Linear, GradientsPassTheRounding) {
  const Tensor x = formula_tensor("x", {3, 32}).requires_grad_(true);
  const Fp8Rows weight = to_fp8(formula_tensor("w", {16, 32}));
  const Tensor y = fp8_linear(x, weight, {});
  EXPECT_LT(rms_error(y.detach(), fp8_linear(x.detach(), weight, {})), 1e-6);
  y.sum().backward();
  EXPECT_LT(rms_error(x.grad(), plain(weight).sum(0).expand_as(x)), 1e-6);
}

TEST(Fp8Weight, TakesThePlaceOfThePlainOne) {
  Weights weights(3);
  weights.fp8 = true;
  const Linear layer = take_token_linear(weights, "layer", 32, 48, true, Init::uniform, 1);
  const Tensor x = formula_tensor("x", {7, 32});
  const Tensor original = layer.weight.clone(), y = layer(x);
  EXPECT_EQ(layer.weight.scalar_type(), at::kFloat8_e4m3fn);
  EXPECT_EQ(layer.weight.sizes(), at::IntArrayRef({48, 32, 1}));
  EXPECT_EQ(weights.finish().front().second.scalar_type(), at::kFloat8_e4m3fn);
  EXPECT_TRUE(layer(x).equal(y));
  const Linear copy = layer;
  EXPECT_TRUE(copy(x).equal(y));
  EXPECT_TRUE(y.equal(fp8_linear(x, to_fp8(original.flatten(1)), layer.bias)));
  EXPECT_LT(rms_error(y, at::linear(x, original.flatten(1), layer.bias)), 0.05);
}

TEST(Fp8Weight, IsKeptOnlyWhereAskedFor) {
  Weights weights(3);
  const Linear layer = take_token_linear(weights, "layer", 32, 48);
  layer(formula_tensor("x", {7, 32}));
  EXPECT_EQ(layer.weight.scalar_type(), at::kFloat);
}

void expect_rows_equal_the_cpus(const Tensor& x) {
  const Fp8Rows here = to_fp8(x), there = to_fp8(x.to(at::kCUDA));
  EXPECT_TRUE(there.scales.cpu().equal(here.scales)) << x.sizes();
  EXPECT_TRUE(there.values.cpu().view(at::kByte).equal(here.values.view(at::kByte))) << x.sizes();
}

TEST(Fp8Cuda, RowsEqualTheCpus) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    for (const int64_t columns : {1, 31, 33, 80})
      expect_rows_equal_the_cpus(uneven_rows(columns).to(dtype));
    for (const int64_t rows : {1, 3, 77, 154})
      expect_rows_equal_the_cpus(formula_tensor("x", {rows, 321}).to(dtype));
  }
}

/// Where neither width nor height is a multiple of 16 there is no product in FP8.
TEST(Fp8Cuda, ProductsEqualTheCpus) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  for (const auto dtype : {at::kHalf, at::kBFloat16})
    for (const auto& [in, out] : {std::pair{320, 640}, {40, 48}, {48, 24}, {33, 7}}) {
      const Tensor x = formula_tensor("x", {2, 77, in}).to(dtype);
      const Tensor w = (formula_tensor("w", {out, in}) / 16).to(dtype);
      const Tensor bias = formula_tensor("b", {out}).to(dtype);
      const Tensor expected = fp8_linear(x.to(at::kFloat), to_fp8(w), bias.to(at::kFloat));
      const Tensor got = fp8_linear(x.to(at::kCUDA), to_fp8(w.to(at::kCUDA)), bias.to(at::kCUDA));
      EXPECT_EQ(got.scalar_type(), dtype);
      EXPECT_LT(rms_error(got.cpu(), expected), 4e-3) << in << ' ' << out;
    }
}

}  // namespace
}  // namespace tiller::test
