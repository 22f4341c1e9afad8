#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "models/device.h"
#include "models/residual.h"
#include "tests/cuda_on_cpu.h"
#include "tests/models/formula.h"
#include "tests/models/misaligned.h"
// Needs cuda_on_cpu.h's words.
#include "models/kernels/residual.cuh"

namespace tiller::test {
namespace {

struct Arguments {
  Unbiased x, h;
  Tensor expected() const { return x.whole() + h.whole(); }
};

Arguments arguments_of(at::IntArrayRef sizes, bool own, at::ScalarType dtype) {
  const auto image = [&](const char* name) {
    return formula_tensor(name, sizes.vec()).to(dtype).contiguous(at::MemoryFormat::ChannelsLast);
  };
  const auto bias = [&](const char* name) { return formula_tensor(name, {sizes[1]}).to(dtype); };
  return {{image("x"), own ? bias("own") : Tensor()}, {image("h"), bias("offset")}};
}

template <class T>
void expect_kernel_equals(const Arguments& a) {
  constexpr int kVector = kernels::kPackBytes / sizeof(T);
  const auto data = [](const Tensor& t) { return t.defined() ? t.const_data_ptr<T>() : nullptr; };
  const Tensor& x = a.x.x;
  const Tensor y = at::full_like(x, NAN);
  cuda_on_cpu::launch({2}, {32}, 0, [&] {
    kernels::residual_sum_kernel<T, kVector>(data(x), data(a.x.bias), data(a.h.x), data(a.h.bias),
                                             y.mutable_data_ptr<T>(), uint32_t(x.numel() / kVector),
                                             uint32_t(x.size(1) / kVector));
  });
  EXPECT_TRUE(at::equal(y, a.expected()));
}

TEST(ResidualKernel, EqualsTheReferenceOnTheCpu) {
  for (const bool own : {false, true}) {
    expect_kernel_equals<float>(arguments_of({2, 24, 5, 7}, own, at::kFloat));
    expect_kernel_equals<at::Half>(arguments_of({2, 24, 5, 7}, own, at::kHalf));
    expect_kernel_equals<at::BFloat16>(arguments_of({1, 8, 9, 3}, own, at::kBFloat16));
  }
}

TEST(ResidualCuda, EqualsTheReference) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  const auto there = [](const Unbiased& u) {
    return Unbiased{u.x.to(at::kCUDA), u.bias.defined() ? u.bias.to(at::kCUDA) : Tensor()};
  };
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16})
    for (const int64_t channels : {3, 8, 320})
      for (const bool own : {false, true}) {
        SCOPED_TRACE(::testing::Message() << channels << ' ' << dtype);
        Arguments a = arguments_of({2, channels, 9, 8}, own, dtype);
        const Tensor expected = a.expected();
        EXPECT_TRUE(at::equal(residual_sum(there(a.x), there(a.h)).cpu(), expected));
        const Unbiased x{misaligned(a.x.x), misaligned(a.x.bias)},
            h{misaligned(a.h.x), misaligned(a.h.bias)};
        EXPECT_TRUE(at::equal(residual_sum(x, h).cpu(), expected));
        a.x.x = a.x.x.contiguous();
        EXPECT_TRUE(at::equal(residual_sum(there(a.x), there(a.h)).cpu(), expected));
      }
}

}  // namespace
}  // namespace tiller::test
