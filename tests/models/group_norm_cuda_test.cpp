#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "models/device.h"
#include "models/group_norm.h"
#include "tests/cuda_on_cpu.h"
#include "tests/models/formula.h"
#include "tests/models/misaligned.h"
// Needs cuda_on_cpu.h's words.
#include "models/kernels/group_norm.cuh"

namespace tiller::test {
namespace {

struct Case {
  int64_t rows, channels, height, width, groups;
  bool silu, modulated, added, offset = false;
};

// Groups that end within a pack, one pixel, chunks that don't divide the image, many channels.
const std::vector<Case> kCases = {
    {2, 32, 5, 7, 32, true, true, false},      {1, 8, 1, 1, 1, true, false, true},
    {3, 24, 3, 3, 4, false, true, true},       {1, 320, 13, 11, 32, true, false, true},
    {2, 64, 40, 33, 8, true, true, false},     {1, 40, 70, 70, 8, true, false, false},
    {1, 2560, 2, 3, 32, true, false, true},    {2, 4096, 1, 2, 256, false, false, false},
    {2, 32, 6, 6, 8, true, false, true, true}, {1, 16, 9, 4, 2, true, true, false, true},
};

struct Arguments {
  Tensor x, weight, bias;
  RowTerms terms;
  GroupNormOptions options;
};

Arguments arguments_of(const Case& c, at::ScalarType dtype) {
  const auto as = [&](const Tensor& t) { return t.to(dtype).contiguous(); };
  Arguments a;
  a.x = (2 * formula_tensor("x", {c.rows, c.channels, c.height, c.width}) + 0.5)
            .to(dtype)
            .contiguous(at::MemoryFormat::ChannelsLast);
  a.weight = as(formula_weight("weight", {c.channels}));
  a.bias = as(formula_weight("bias", {c.channels}));
  if (c.modulated) a.terms.modulation = as(formula_tensor("modulation", {c.rows, 2 * c.channels}));
  if (c.added) a.terms.added = as(3 * formula_tensor("added", {c.rows, c.channels}));
  if (c.offset) a.terms.offset = as(2 * formula_tensor("offset", {c.channels}));
  a.options = {c.groups, 1e-5, c.silu};
  return a;
}

Tensor exact(const Arguments& a) {
  const auto wide = [](const Tensor& t) { return t.defined() ? t.to(at::kDouble) : t; };
  return group_norm_reference(
      wide(a.x), wide(a.weight), wide(a.bias), a.options,
      {wide(a.terms.modulation), wide(a.terms.added), wide(a.terms.offset)});
}

void expect_near(const Tensor& y, const Arguments& a) {
  const Tensor expected = exact(a);
  const double rounding = y.scalar_type() == at::kFloat  ? 1e-5
                          : y.scalar_type() == at::kHalf ? 1.0 / 2048
                                                         : 1.0 / 256;
  const Tensor error = (y.cpu().to(at::kDouble) - expected).abs() - rounding * expected.abs();
  EXPECT_LT(error.max().item<double>(), 2e-5);
}

template <class T>
kernels::GroupNormInputs<T> inputs_of(const Arguments& a) {
  const auto data = [](const Tensor& t) { return t.defined() ? t.const_data_ptr<T>() : nullptr; };
  return {data(a.x),           data(a.weight),      data(a.bias), data(a.terms.modulation),
          data(a.terms.added), data(a.terms.offset)};
}

template <class T>
Tensor run_kernels(const Arguments& a) {
  constexpr int kVector = kernels::kPackBytes / sizeof(T);
  const Tensor& x = a.x;
  EXPECT_TRUE(kernels::group_norm_fits(x.size(0), x.size(1), a.options.groups));
  const auto shape = kernels::group_norm_shape(x.size(0), x.size(2) * x.size(3), x.size(1),
                                               a.options.groups, kVector);
  const auto in = inputs_of<T>(a);
  std::vector<kernels::Moments> partial(shape.rows * shape.moments.count * shape.groups);
  const Tensor y = at::full_like(x, std::numeric_limits<float>::quiet_NaN());
  const auto grid = [&](const kernels::Chunks& chunks) {
    return cuda_on_cpu::Dim3{unsigned(chunks.count), unsigned(shape.rows)};
  };
  const cuda_on_cpu::Dim3 block{unsigned(shape.vectors), unsigned(shape.lanes)};
  EXPECT_LE(block.count(), 1024u);
  constexpr size_t kSharedBytes = 48 << 10;
  EXPECT_LE(kernels::moments_shared_bytes(shape), kSharedBytes);
  EXPECT_LE(kernels::apply_shared_bytes(shape), kSharedBytes);
  cuda_on_cpu::launch(grid(shape.moments), block, kernels::moments_shared_bytes(shape),
                      [&] { kernels::group_moments<T, kVector>(in, partial.data(), shape); });
  const auto apply = a.options.silu ? kernels::apply_group_norm<T, kVector, true>
                                    : kernels::apply_group_norm<T, kVector, false>;
  cuda_on_cpu::launch(grid(shape.apply), block, kernels::apply_shared_bytes(shape), [&] {
    apply(in, partial.data(), y.mutable_data_ptr<T>(), float(a.options.eps), shape);
  });
  return y;
}

TEST(GroupNormKernels, EqualTheReferenceOnTheCpu) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(::testing::Message() << c.rows << ' ' << c.channels << ' ' << c.height);
    Arguments a = arguments_of(c, at::kFloat);
    expect_near(run_kernels<float>(a), a);
    a = arguments_of(c, at::kHalf);
    expect_near(run_kernels<at::Half>(a), a);
    a = arguments_of(c, at::kBFloat16);
    expect_near(run_kernels<at::BFloat16>(a), a);
  }
}

TEST(GroupNormKernels, KeepSmallVariancesAroundLargeMeans) {
  Arguments a = arguments_of({2, 16, 24, 24, 4, false, false, false}, at::kFloat);
  a.x = (formula_tensor("x", {2, 16, 24, 24}) + 4096).contiguous(at::MemoryFormat::ChannelsLast);
  a.weight.fill_(1);
  a.bias.fill_(0);
  EXPECT_LT((run_kernels<float>(a) - exact(a)).abs().max().item<double>(), 2e-3);
}

TEST(GroupNormCuda, ReadsAnyAddress) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  for (const Case& c : kCases)
    for (const auto dtype : {at::kFloat, at::kHalf}) {
      SCOPED_TRACE(::testing::Message() << c.rows << ' ' << c.channels << ' ' << dtype);
      const Arguments a = arguments_of(c, dtype);
      const RowTerms terms{misaligned(a.terms.modulation), misaligned(a.terms.added),
                           misaligned(a.terms.offset)};
      expect_near(
          group_norm(misaligned(a.x), misaligned(a.weight), misaligned(a.bias), a.options, terms),
          a);
    }
}

TEST(GroupNormCuda, EqualsTheReference) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  const auto there = [](const Tensor& t) { return t.defined() ? t.to(at::kCUDA) : t; };
  for (const Case& c : kCases)
    for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
      SCOPED_TRACE(::testing::Message() << c.rows << ' ' << c.channels << ' ' << dtype);
      const Arguments a = arguments_of(c, dtype);
      expect_near(
          group_norm(there(a.x), there(a.weight), there(a.bias), a.options,
                     {there(a.terms.modulation), there(a.terms.added), there(a.terms.offset)}),
          a);
    }
}

}  // namespace
}  // namespace tiller::test
