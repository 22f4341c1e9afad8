#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "models/combination.h"
#include "models/device.h"
#include "tests/cuda_on_cpu.h"
#include "tests/models/formula.h"
// Needs cuda_on_cpu.h's words.
#include "models/kernels/weighted_sum.cuh"

namespace tiller::test {
namespace {

/// Tensors of one shape in all types and several layouts.
std::vector<Tensor> terms_like(at::IntArrayRef shape, size_t count, bool wide) {
  constexpr at::ScalarType kTypes[] = {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble};
  std::vector<Tensor> terms;
  for (size_t k = 0; k < count; ++k) {
    Tensor x = formula_tensor("x" + std::to_string(k), shape).to(kTypes[k % (wide ? 4 : 3)]);
    if (k % 2 && x.dim() == 4) x = x.contiguous(at::MemoryFormat::ChannelsLast);
    if (k == 2) x = at::stack({x, x}, -1).select(-1, 1);  // every other element
    terms.push_back(x);
  }
  return terms;
}

std::vector<double> factors_of(size_t count) {
  std::vector<double> factors;
  for (size_t k = 0; k < count; ++k) factors.push_back(0.3 * double(k) - 1);
  return factors;
}

Tensor exact_sum(const std::vector<Tensor>& x, const std::vector<double>& factors) {
  Tensor sum = at::zeros(x[0].sizes(), at::kDouble);
  for (size_t k = 0; k < x.size(); ++k) sum += factors[k] * x[k].to(at::kDouble);
  return sum;
}

template <class T>
void expect_right(const std::vector<Tensor>& x, cuda_on_cpu::Dim3 grid, cuda_on_cpu::Dim3 block) {
  const std::vector<double> factors = factors_of(x.size());
  const auto type = c10::CppTypeToScalarType<T>::value;
  const Tensor sums = at::full(x[0].sizes(), NAN, type);
  cuda_on_cpu::launch(grid, block, 0, [&] {
    kernels::weighted_sum_kernel<T>(kernels::terms_of(x, factors), sums.mutable_data_ptr<T>(),
                                    static_cast<uint32_t>(sums.numel()));
  });
  const Tensor expected = exact_sum(x, factors);
  const double rounding = type == at::kDouble ? 1e-14 : 1e-7;
  EXPECT_LT((sums.to(at::kDouble) - expected).abs().max().item<double>(),
            rounding * (1 + expected.abs().max().item<double>()))
      << x[0].sizes() << ' ' << x.size();
}

TEST(WeightedSumKernel, EqualsTheReferenceOnTheCpu) {
  for (const auto& shape : std::vector<std::vector<int64_t>>{
           {2, 3, 5, 7}, {1, 4, 6, 6}, {3, 1, 5, 1}, {5, 7}, {11}, {1}, {}})
    for (const size_t count : {1, 2, 3, 12, 64}) {
      expect_right<float>(terms_like(shape, count, false), {3}, {32});
      expect_right<double>(terms_like(shape, count, true), {3}, {32});
    }
}

/// As the launch has it for more elements than its blocks have threads.
TEST(WeightedSumKernel, GoesOnBeyondItsGrid) {
  const Tensor x = formula_tensor("x", {4096 * 256 + 77});
  expect_right<float>({x}, {4096}, {256});
}

TEST(CombinationCuda, EqualsTheReference) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  for (const auto& shape : std::vector<std::vector<int64_t>>{
           {2, 3, 5, 7}, {1, 4, 64, 64}, {0, 4, 8, 8}, {11}, {4096 * 256 + 77}})
    for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf})
      for (const int count : {1, 2, 3, 12, 13, 30, 64, 65, 150}) {
        Combination here, there;
        for (int k = 0; k < count; ++k) {
          const auto own = k % 2 ? at::kFloat : type;
          const Tensor x = formula_tensor("x" + std::to_string(k), shape).to(own);
          here.add(x, 0.3 * k - 1);
          there.add(x.cuda(), 0.3 * k - 1);
        }
        const Tensor expected = here, got = there.tensor().cpu();
        EXPECT_EQ(got.scalar_type(), expected.scalar_type());
        EXPECT_TRUE(got.allclose(expected, 1e-5, 1e-5))
            << at::IntArrayRef(shape) << ' ' << type << ' ' << count;
      }
}

TEST(CombinationCuda, ReadsAnyLayout) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  const Tensor a = formula_tensor("a", {2, 3, 5, 7}).cuda();
  const Tensor b = formula_tensor("b", {2, 6, 5, 7}).cuda();
  const Combination sum =
      difference(a.contiguous(at::MemoryFormat::ChannelsLast), b.narrow(1, 2, 3));
  EXPECT_TRUE(sum.tensor().allclose(a - b.narrow(1, 2, 3), 1e-6, 1e-6));
  EXPECT_TRUE(sum.tensor().is_contiguous());
}

}  // namespace
}  // namespace tiller::test
