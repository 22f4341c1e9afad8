#include "models/winograd_conv.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "models/kernels/winograd.h"
#include "models/packed_conv.h"
#include "models/products.h"

namespace tiller {
namespace {

struct ConvCase {
  int64_t rows, in, out, height, width;
};

/// Odd sizes, single pixels, channels that fill no register, panels that aren't full.
const ConvCase kConvCases[] = {{1, 32, 32, 8, 8},   {2, 33, 45, 7, 5},   {3, 64, 40, 1, 1},
                               {1, 40, 100, 1, 9},  {1, 35, 32, 16, 17}, {2, 320, 64, 8, 8},
                               {1, 1280, 33, 4, 4}, {1, 32, 64, 33, 40}};

struct Conv {
  Tensor x, weight, bias;
};

Conv random_conv(const ConvCase& c) {
  at::manual_seed(c.in + c.out);
  const auto layout = at::MemoryFormat::ChannelsLast;
  return {at::randn({c.rows, c.in, c.height, c.width}).contiguous(layout),
          at::randn({c.out, c.in, 3, 3}).contiguous(layout) / std::sqrt(9. * c.in),
          at::randn({c.out})};
}

double largest_of(const Tensor& x) { return x.abs().max().item<double>(); }

Tensor exact(const Conv& c, const Tensor& bias) {
  return at::conv2d(c.x.to(at::kDouble), c.weight.to(at::kDouble),
                    bias.defined() ? bias.to(at::kDouble) : bias, 1, 1);
}

Tensor winograd(const Conv& c) {
  return winograd_conv(c.x, winograd_weight(c.weight), c.bias, c.weight.size(0));
}

TEST(WinogradConv, IsTheConvolutionInFloat64ToAFewRoundings) {
  for (const auto& each : kConvCases) {
    Conv c = random_conv(each);
    for (const Tensor& bias : {c.bias, Tensor()}) {
      c.bias = bias;
      const Tensor y = winograd(c);
      ASSERT_EQ(y.sizes(), exact(c, bias).sizes());
      EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
      EXPECT_LT(largest_of(y - exact(c, bias)), 5e-6) << each.in << " to " << each.out;
    }
  }
}

TEST(WinogradConv, ReadsEitherLayout) {
  Conv c = random_conv({1, 48, 40, 6, 6});
  const Tensor y = winograd(c);
  c.weight = c.weight.contiguous();
  EXPECT_TRUE(at::equal(winograd(c), y));
  c.x = c.x.contiguous();
  EXPECT_TRUE(at::equal(winograd(c), y));
}

TEST(WinogradConv, RefusesWhatDoesNotFit) {
  const Conv c = random_conv({1, 48, 40, 6, 6});
  const Tensor packed = winograd_weight(c.weight);
  EXPECT_THROW(winograd_conv(c.x.narrow(1, 0, 32), packed, c.bias, 40), c10::Error);
  EXPECT_THROW(winograd_conv(c.x, packed, c.bias, 400), c10::Error);
  EXPECT_THROW(winograd_conv(c.x, packed, c.bias.narrow(0, 0, 8), 40), c10::Error);
}

using kernels::WinogradTable;

template <class T>
T* values(const Tensor& x) {
  return static_cast<T*>(x.data_ptr());
}

/// The whole image by one compilation's kernel, in parts of few tiles and panels.
template <class T>
Tensor by(const WinogradTable& table, const kernels::WinogradKernels<T>& kernels, const Conv& c) {
  const kernels::ConvShape shape = {c.x.size(0), c.x.size(2), c.x.size(3), c.x.size(1),
                                    c.weight.size(0)};
  const int64_t tiles = shape.batch * ((shape.height + 1) / 2) * ((shape.width + 1) / 2);
  const int64_t panels = (shape.out + table.panel_width - 1) / table.panel_width;
  const Tensor packed = at::empty({panels, table.packed(shape.in)});
  for (int64_t panel = 0; panel < panels; ++panel)
    kernels.pack(values<T>(c.weight), shape.in, shape.out, panel, values<float>(packed[panel]));
  const Tensor y = at::full({shape.batch, shape.out, shape.height, shape.width}, NAN, c.x.options())
                       .contiguous(at::MemoryFormat::ChannelsLast);
  for (int64_t tile = 0; tile < tiles; tile += 7)
    for (int64_t panel = 0; panel < panels; panel += 2) {
      const kernels::ConvPart part = {tile, std::min<int64_t>(7, tiles - tile), panel,
                                      std::min<int64_t>(2, panels - panel)};
      const int64_t floats = table.workspace(shape, part), beyond = 64;
      const Tensor work = at::full({floats + beyond}, 7.f);
      kernels.convolve(shape, part, values<T>(c.x), values<float>(packed), values<T>(c.bias),
                       values<T>(y), values<float>(work));
      EXPECT_TRUE(work.narrow(0, floats, beyond).eq(7).all().item<bool>());
    }
  return y;
}

std::vector<const WinogradTable*> tables() {
  std::vector<const WinogradTable*> all = {&kernels::winograd_baseline()};
  const std::string known = at::get_cpu_capability();
  if (known.starts_with("AVX")) all.push_back(&kernels::winograd_avx2());
  if (known == "AVX512") all.push_back(&kernels::winograd_avx512());
  return all;
}

TEST(WinogradConv, EveryInstructionSetGivesTheSameToAFewRoundings) {
  for (const auto& each : kConvCases)
    for (const WinogradTable* table : tables()) {
      const Conv c = random_conv(each);
      EXPECT_LT(largest_of(by(*table, table->float32, c) - exact(c, c.bias)), 5e-6)
          << table->panel_width << " wide, " << each.in << " to " << each.out;
    }
}

TEST(WinogradConv, InBfloat16ItRoundsTheAnswerAlone) {
  for (const auto& each : kConvCases)
    for (const WinogradTable* table : tables()) {
      Conv c = random_conv(each);
      for (Tensor* x : {&c.x, &c.weight, &c.bias}) *x = x->to(at::kBFloat16);
      const Tensor wanted = exact(c, c.bias), y = by(*table, table->bfloat16, c);
      const Tensor beyond =
          (y - wanted).abs() - wanted.abs() / 256;  // half a unit in the last place
      EXPECT_LT(beyond.max().item<double>(), 5e-6)
          << table->panel_width << " wide, " << each.in << " to " << each.out;
    }
}

TEST(WinogradConv, InFloat16ItRoundsTheAnswerAlone) {
  for (const auto& each : kConvCases) {
    Conv c = random_conv(each);
    for (Tensor* x : {&c.x, &c.weight, &c.bias}) *x = x->to(at::kHalf);
    const Tensor wanted = exact(c, c.bias), y = winograd(c);
    EXPECT_EQ(y.scalar_type(), at::kHalf);
    const Tensor beyond = (y - wanted).abs() - wanted.abs() / 2048;  // half a unit
    EXPECT_LT(beyond.max().item<double>(), 5e-6) << each.in << " to " << each.out;
  }
}

TEST(WinogradConv, AnImageDependsNeitherOnItsBatchNorOnThreads) {
  const Conv c = random_conv({5, 40, 72, 18, 14});
  const Tensor all = winograd(c);
  const int before = at::get_num_threads();
  for (const int threads : {1, 3}) {
    at::set_num_threads(threads);
    for (int64_t row = 0; row < 5; ++row) {
      const Conv one = {c.x.narrow(0, row, 1), c.weight, c.bias};
      EXPECT_TRUE(at::equal(winograd(one), all.narrow(0, row, 1))) << threads << " threads";
    }
  }
  at::set_num_threads(before);
}

TEST(WinogradConv, PassesOnWhatIsNotFinite) {
  Conv c = random_conv({1, 32, 32, 8, 8});
  c.x[0][3][4][4] = NAN;
  const Tensor y = winograd(c);
  EXPECT_TRUE(y.narrow(2, 3, 3).narrow(3, 3, 3).isnan().all().item<bool>());
  EXPECT_FALSE(y.narrow(2, 0, 2).isnan().any().item<bool>());
}

TEST(WinogradConv, ServesWhatItIsFasterFor) {
  if (!at::get_cpu_capability().starts_with("AVX")) GTEST_SKIP() << "no AVX2";
  const Conv c = random_conv({1, 32, 32, 8, 8});
  EXPECT_TRUE(winograd_serves(c.x, c.weight, 1, 1));
  EXPECT_FALSE(winograd_serves(c.x, c.weight, 2, 1));
  EXPECT_FALSE(winograd_serves(c.x, c.weight, 1, 0));
  EXPECT_FALSE(winograd_serves(c.x.narrow(3, 0, 3), c.weight, 1, 1));
  for (const auto dtype : {at::kBFloat16, at::kHalf})
    EXPECT_EQ(winograd_serves(c.x.to(dtype), c.weight.to(dtype), 1, 1), is_widened(dtype));
  EXPECT_FALSE(winograd_serves(c.x.to(at::kBFloat16), c.weight, 1, 1));
  EXPECT_FALSE(winograd_serves(c.x, at::ones({4, 32, 3, 3}), 1, 1));
  EXPECT_FALSE(winograd_serves(c.x, at::ones({32, 32, 5, 5}), 1, 2));
}

TEST(WinogradConv, IsTakenForPackedConvolutionsWhereItServesAndMayBeKept) {
  if (!at::get_cpu_capability().starts_with("AVX")) GTEST_SKIP() << "no AVX2";
  const Conv c = random_conv({1, 1024, 1056, 4, 4});
  const PackedConv packed;
  EXPECT_TRUE(at::equal(packed(c.x, c.weight, c.bias, 1, 1), winograd(c)));
  keep_winograd_weights(false);
  const Tensor other = packed(c.x, c.weight, c.bias, 1, 1);
  keep_winograd_weights(true);
  EXPECT_FALSE(at::equal(other, winograd(c)));
  EXPECT_LT(largest_of(other - exact(c, c.bias)), 5e-5);
  EXPECT_TRUE(at::equal(packed(c.x, c.weight, c.bias, 1, 1), winograd(c)));
}

}  // namespace
}  // namespace tiller
