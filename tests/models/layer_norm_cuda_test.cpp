#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "models/device.h"
#include "models/layer_norm.h"
#include "tests/cuda_on_cpu.h"
#include "tests/models/formula.h"
#include "tests/models/misaligned.h"
// Needs cuda_on_cpu.h's words.
#include "models/kernels/layer_norm.cuh"

namespace tiller::test {
namespace {

struct Arguments {
  Tensor x, term;
  LayerNorm norm;
};

/// Around a mean far from zero.
Arguments arguments_of(int64_t tokens, int64_t channels, bool adds, at::ScalarType dtype) {
  Arguments a;
  a.x = (2 * formula_tensor("x", {1, tokens, channels}) + 3).to(dtype);
  if (adds) a.term = formula_tensor("term", {1, tokens, channels}).to(dtype);
  a.norm = {formula_weight("weight", {channels}).to(dtype),
            formula_weight("bias", {channels}).to(dtype), 1e-5};
  return a;
}

/// The sum as the type holds it, to the bit; its norm to the rounding of the type.
void expect_right(const NormedSum& got, const Arguments& a) {
  const NormedSum rounded = layer_norm_of_sum_reference(a.x, a.term, a.norm);
  EXPECT_TRUE(at::equal(got.sum.cpu(), rounded.sum));
  const auto wide = [](const Tensor& t) { return t.to(at::kDouble); };
  const Tensor expected =
      LayerNorm{wide(a.norm.weight), wide(a.norm.bias), a.norm.eps}(wide(rounded.sum));
  const double rounding = a.x.scalar_type() == at::kFloat  ? 1e-5
                          : a.x.scalar_type() == at::kHalf ? 1.0 / 2048
                                                           : 1.0 / 256;
  const Tensor error = (wide(got.norm.cpu()) - expected).abs() - rounding * expected.abs();
  EXPECT_LT(error.max().item<double>(), 2e-5);
}

template <class T, int packs>
NormedSum run_kernel(const Arguments& a) {
  constexpr int kVector = kernels::kPackBytes / sizeof(T);
  const int64_t channels = a.x.size(-1), tokens = a.x.numel() / channels;
  const auto data = [](const Tensor& t) { return t.defined() ? t.const_data_ptr<T>() : nullptr; };
  const kernels::LayerNormInputs<T> in{data(a.x),         data(a.term), data(a.norm.weight),
                                       data(a.norm.bias), tokens,       int(channels),
                                       float(a.norm.eps)};
  const Tensor sum = at::full_like(a.x, NAN), y = at::full_like(a.x, NAN);
  cuda_on_cpu::launch({unsigned(tokens + 2) / 3}, {32, 3}, 0, [&] {
    kernels::layer_norm_of_sum<T, kVector, packs>(in, sum.mutable_data_ptr<T>(),
                                                  y.mutable_data_ptr<T>());
  });
  return {a.term.defined() ? sum : a.x, y};
}

TEST(LayerNormKernel, EqualsTheReferenceOnTheCpu) {
  for (const bool adds : {false, true})
    for (const int64_t channels : {8, 320, 512}) {
      SCOPED_TRACE(channels);
      const auto of = [&](at::ScalarType dtype) { return arguments_of(5, channels, adds, dtype); };
      expect_right(run_kernel<float, 4>(of(at::kFloat)), of(at::kFloat));
      expect_right(run_kernel<at::Half, 2>(of(at::kHalf)), of(at::kHalf));
      expect_right(run_kernel<at::BFloat16, 3>(of(at::kBFloat16)), of(at::kBFloat16));
    }
}

TEST(LayerNormCuda, EqualsTheReference) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  const auto there = [](const Tensor& t) { return t.defined() ? t.to(at::kCUDA) : t; };
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16})
    for (const int64_t channels : {8, 320, 640, 1280, 2048, 2056, 20})
      for (const bool adds : {false, true}) {
        SCOPED_TRACE(::testing::Message() << channels << ' ' << dtype);
        const Arguments a = arguments_of(77, channels, adds, dtype);
        expect_right(layer_norm_of_sum(there(a.x), there(a.term),
                                       {there(a.norm.weight), there(a.norm.bias), a.norm.eps}),
                     a);
      }
}

/// Rows of a larger tensor, which packs can't be read at.
TEST(LayerNormCuda, ReadsAnyAddress) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const Arguments a = arguments_of(3, 64, true, dtype);
    expect_right(
        layer_norm_of_sum(misaligned(a.x), misaligned(a.term),
                          {misaligned(a.norm.weight), misaligned(a.norm.bias), a.norm.eps}),
        a);
  }
}

}  // namespace
}  // namespace tiller::test
