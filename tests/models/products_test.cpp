#include "models/products.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "models/instructions.h"
#include "models/layers.h"

namespace tiller {
namespace {

constexpr std::array kTypes = {at::kBFloat16, at::kHalf};

/// Of the largest value's last place.
double largest_error(const Tensor& y, const Tensor& exact) {
  const double last_place = y.scalar_type() == at::kHalf ? std::ldexp(1, -10) : std::ldexp(1, -7);
  const Tensor error = (y.to(at::kDouble) - exact).abs().max() / exact.abs().max();
  return error.item<double>() / last_place;
}

Tensor exact(const Tensor& x) { return x.to(at::kDouble); }

Tensor random(at::IntArrayRef shape, at::ScalarType dtype, double scale = 1) {
  return (at::randn(shape) * scale).to(dtype);
}

TEST(Products, LinearRoundsTheExactProduct) {
  at::manual_seed(1);
  for (const auto dtype : kTypes)
    for (const auto& [rows, tokens, in, out] :
         {std::array<int64_t, 4>{1, 1, 3, 5}, {2, 77, 100, 70}, {1, 333, 320, 640}}) {
      const Tensor x = random({rows, tokens, in}, dtype), bias = random({out}, dtype);
      const Tensor weight = random({out, in}, dtype, 1 / std::sqrt(double(in)));
      const Tensor y = linear_of(x, weight, bias);
      EXPECT_EQ(y.scalar_type(), dtype);
      EXPECT_LT(largest_error(y, at::linear(exact(x), exact(weight), exact(bias))), 1) << in;
      EXPECT_LT(largest_error(linear_of(x, weight), at::linear(exact(x), exact(weight))), 1) << in;
    }
}

TEST(Products, ConvolutionsRoundTheExactOnes) {
  at::manual_seed(2);
  for (const auto dtype : kTypes)
    for (const auto& [kernel, stride, side] :
         {std::array<int64_t, 3>{1, 1, 8}, {3, 2, 9}, {3, 1, 1}}) {
      const Tensor x = random({2, 40, side, side}, dtype), bias = random({48}, dtype);
      const Tensor weight = random({48, 40, kernel, kernel}, dtype, 0.2 / double(kernel));
      const Tensor y = conv2d_of(x, weight, bias, stride, kernel / 2);
      const Tensor expected = at::conv2d(exact(x), exact(weight), exact(bias), stride, kernel / 2);
      EXPECT_EQ(y.scalar_type(), dtype);
      EXPECT_LT(largest_error(y, expected), 1) << kernel << ' ' << stride;
    }
}

TEST(Products, AreWidenedWhereTheProcessorHasNoInstructions) {
  for (const auto& [dtype, instructions] :
       {std::pair{at::kBFloat16, multiplies_bf16_pairs() || multiplies_bf16_tiles()},
        {at::kHalf, multiplies_halves()}}) {
    const Tensor x = at::ones({1, 2, 3}, dtype);
    EXPECT_EQ(is_widened(x), is_widened(dtype));
    EXPECT_FALSE(is_widened(dtype) && instructions);
    EXPECT_FALSE(is_widened(x[0])) << "a row for each image: few, and they read much weight";
    at::autocast::set_autocast_enabled(at::kCPU, true);
    EXPECT_FALSE(is_widened(x));
    at::autocast::set_autocast_enabled(at::kCPU, false);
  }
  EXPECT_FALSE(is_widened(at::ones({1, 2, 3})));
  EXPECT_FALSE(is_widened(at::ones({1, 2, 3}, at::kDouble)));
}

TEST(Products, OfWidenedTypesAreThoseOfFloats) {
  at::manual_seed(3);
  for (const auto dtype : kTypes) {
    if (!is_widened(dtype)) continue;
    const Tensor tokens = random({2, 9, 24}, dtype), image = random({1, 24, 6, 6}, dtype);
    const Tensor weight = random({40, 24}, dtype), bias = random({40}, dtype);
    const auto wide = [](const Tensor& x) { return x.to(at::kFloat); };
    const Tensor y = at::linear(wide(tokens), wide(weight), wide(bias)).to(dtype);
    EXPECT_TRUE(Linear({weight, bias})(tokens).equal(y));
    for (const int64_t stride : {1, 2}) {
      const Tensor kernel = random({40, 24, 3, 3}, dtype);
      const Tensor z = at::conv2d(wide(image), wide(kernel), wide(bias), stride, 1).to(dtype);
      EXPECT_TRUE(Conv2d({kernel, bias, stride, 1})(image).equal(z)) << stride;
    }
  }
}

TEST(Products, OfTypesWithInstructionsAreLibTorchs) {
  at::manual_seed(4);
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    if (is_widened(dtype)) continue;
    const Tensor x = random({2, 9, 24}, dtype), weight = random({40, 24}, dtype);
    EXPECT_TRUE(linear_of(x, weight).equal(at::linear(x, weight)));
  }
}

TEST(Products, GiveGradients) {
  at::manual_seed(5);
  for (const auto dtype : kTypes) {
    const Tensor x = random({1, 9, 24}, dtype).requires_grad_();
    const Tensor weight = random({40, 24}, dtype).requires_grad_();
    linear_of(x, weight).sum().backward();
    const Tensor by_x = exact(weight.detach()).sum(0).expand({1, 9, 24});
    EXPECT_LT(largest_error(x.grad(), by_x), 2);
    EXPECT_LT(largest_error(weight.grad(), exact(x.detach())[0].sum(0).expand({40, 24})), 2);
  }
}

/// A batch's images don't depend on each other.
TEST(Products, RowsDoNotDependOnTheirNumber) {
  at::manual_seed(6);
  const int before = at::get_num_threads();
  for (const auto dtype : kTypes) {
    if (!is_widened(dtype)) continue;
    const Tensor x = random({5, 77, 320}, dtype), weight = random({640, 320}, dtype);
    for (const int threads : {1, 2, 3}) {
      at::set_num_threads(threads);
      const Tensor all = linear_of(x, weight);
      for (const int64_t n : {1, 2, 4})
        EXPECT_TRUE(linear_of(x.narrow(0, 0, n), weight).equal(all.narrow(0, 0, n)))
            << n << " rows, " << threads << " threads";
    }
  }
  at::set_num_threads(before);
}

}  // namespace
}  // namespace tiller
