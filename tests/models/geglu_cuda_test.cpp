#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "models/device.h"
#include "models/geglu.h"
#include "tests/cuda_on_cpu.h"
#include "tests/models/formula.h"
#include "tests/models/misaligned.h"
// Needs cuda_on_cpu.h's words.
#include "models/kernels/geglu.cuh"

namespace tiller::test {
namespace {

void expect_near(const Tensor& y, const Tensor& x) {
  const Tensor expected = geglu_reference(x.to(at::kDouble));
  const double rounding = y.scalar_type() == at::kFloat  ? 1e-6
                          : y.scalar_type() == at::kHalf ? 1.0 / 2048
                                                         : 1.0 / 256;
  const Tensor error = (y.cpu().to(at::kDouble) - expected).abs() - rounding * expected.abs();
  EXPECT_LT(error.max().item<double>(), 2e-6);
}

template <class T, int vector>
Tensor run_kernel(const Tensor& x) {
  const int64_t channels = x.size(1) / 2;
  const Tensor y = at::full({x.size(0), channels}, NAN, x.options());
  cuda_on_cpu::launch({2, 3}, {32}, 0, [&] {
    kernels::geglu_kernel<T, vector>(x.const_data_ptr<T>(), y.mutable_data_ptr<T>(), x.size(0),
                                     channels);
  });
  return y;
}

TEST(GegluKernel, EqualsTheReferenceOnTheCpu) {
  const Tensor x = 4 * formula_tensor("x", {13, 80}), odd = 4 * formula_tensor("x", {5, 6});
  expect_near(run_kernel<float, 4>(x), x);
  expect_near(run_kernel<float, 1>(odd), odd);
  const Tensor half = x.to(at::kHalf), brain = x.to(at::kBFloat16);
  expect_near(run_kernel<at::Half, 8>(half), half);
  expect_near(run_kernel<at::BFloat16, 8>(brain), brain);
}

TEST(GegluCuda, EqualsTheReference) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16})
    for (const int64_t channels : {2, 6, 80, 2560}) {
      const Tensor x = (4 * formula_tensor("x", {2, 7, channels})).to(dtype);
      const Tensor y = geglu(x.to(at::kCUDA));
      EXPECT_EQ(y.scalar_type(), dtype);
      expect_near(y, x);
      expect_near(geglu(misaligned(x)), x);
    }
}

}  // namespace
}  // namespace tiller::test
