#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "models/device.h"
#include "samplers/lattice.h"
#include "tests/cuda_on_cpu.h"
// Needs cuda_on_cpu.h's words.
#include "samplers/lattice.cuh"

namespace tiller::test {
namespace {

constexpr double kA = 0.9271, kB = -1.31;

Tensor random(int64_t count, uint64_t seed, at::ScalarType type) {
  auto generator = at::detail::createCPUGenerator(seed);
  return (4 * at::randn({count}, generator, at::TensorOptions(at::kDouble))).to(type);
}

/// With what isn't a number, what the lattice doesn't hold, and halves.
Tensor awkward(int64_t count, at::ScalarType type) {
  Tensor x = random(count, 3, at::kDouble);
  if (count > 4) {
    x[0] = std::numeric_limits<double>::quiet_NaN();
    x[1] = 1e30;
    x[2] = -1e30;
    x[3] = 0.5 / 65536;
  }
  return x.to(type);
}

template <class X, class Y>
void expect_to_the_bit(int64_t count, cuda_on_cpu::Dim3 grid, cuda_on_cpu::Dim3 block) {
  const Tensor x = awkward(count, c10::CppTypeToScalarType<X>::value);
  const Tensor y = random(count, 4, c10::CppTypeToScalarType<Y>::value);
  for (const auto& [a, b] : {std::pair{kA, kB}, std::pair{1.0, 0.0}}) {
    const Tensor z = at::full({count}, -1, at::kLong);
    cuda_on_cpu::launch(grid, block, 0, [&, a = a, b = b] {
      kernels::lattice_sum_kernel(x.const_data_ptr<X>(), a, y.const_data_ptr<Y>(), b,
                                  z.mutable_data_ptr<int64_t>(), count);
    });
    EXPECT_TRUE(at::equal(z, lattice_sum(x, a, y, b))) << count << ' ' << a;
  }
}

TEST(LatticeKernel, IsTheReferenceToTheBitOnTheCpu) {
  for (const int64_t count : {1, 7, 96, 1001}) {
    expect_to_the_bit<float, float>(count, {3}, {32});
    expect_to_the_bit<float, double>(count, {3}, {32});
    expect_to_the_bit<double, float>(count, {3}, {32});
    expect_to_the_bit<double, double>(count, {3}, {32});
  }
}

/// As the launch has it for more elements than its blocks have threads.
TEST(LatticeKernel, GoesOnBeyondItsGrid) {
  const int64_t count = 4096 * 256 + 77;
  const Tensor x = random(count, 5, at::kFloat), y = random(count, 6, at::kDouble);
  const Tensor z = at::full({count}, -1, at::kLong);
  cuda_on_cpu::launch({4096}, {256}, 0, [&] {
    kernels::lattice_sum_kernel(x.const_data_ptr<float>(), kA, y.const_data_ptr<double>(), kB,
                                z.mutable_data_ptr<int64_t>(), count);
  });
  EXPECT_TRUE(at::equal(z, lattice_sum(x, kA, y, kB)));
}

/// The kernel's integers are the reference's, whatever goes in: both directions rely on it.
TEST(LatticeCuda, SumsAreTheReferencesToTheBit) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  for (const int64_t count : {0, 1, 7, 1 << 21})
    for (const auto x_type : {at::kFloat, at::kDouble})
      for (const auto y_type : {at::kFloat, at::kDouble, at::kHalf}) {
        const Tensor x = awkward(count, x_type), y = random(count, 4, y_type);
        const Tensor z = lattice_sum(x.cuda(), kA, y.cuda(), kB);
        EXPECT_TRUE(at::equal(z.cpu(), lattice_sum(x, kA, y, kB))) << count;
      }
}

TEST(LatticeCuda, ReadsAnyLayout) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  const Tensor x = random(2 * 3 * 5 * 7, 4, at::kFloat).view({2, 3, 5, 7});
  const Tensor last = x.contiguous(at::MemoryFormat::ChannelsLast);
  EXPECT_TRUE(
      at::equal(lattice_sum(last.cuda(), 2, x.cuda(), 0.3).cpu(), lattice_sum(x, 2, x, 0.3)));
}

}  // namespace
}  // namespace tiller::test
