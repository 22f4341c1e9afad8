#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "models/device.h"
#include "samplers/lattice.h"

namespace tiller::test {
namespace {

/// The kernel's integers are the reference's, whatever goes in: both directions rely on it.
TEST(LatticeCuda, SumsAreTheReferencesToTheBit) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  auto generator = at::detail::createCPUGenerator(3);
  for (const int64_t count : {0, 1, 7, 1 << 21})
    for (const auto x_type : {at::kFloat, at::kDouble})
      for (const auto y_type : {at::kFloat, at::kDouble, at::kHalf}) {
        Tensor x = 4 * at::randn({count}, generator, at::TensorOptions(at::kDouble));
        const Tensor y = at::randn({count}, generator, at::TensorOptions(at::kDouble)).to(y_type);
        if (count > 4) {
          x[0] = std::numeric_limits<double>::quiet_NaN();
          x[1] = 1e30;
          x[2] = -1e30;
          x[3] = 0.5 / 65536;
        }
        x = x.to(x_type);
        const Tensor z = lattice_sum(x.cuda(), 0.9271, y.cuda(), -1.31);
        EXPECT_TRUE(at::equal(z.cpu(), lattice_sum(x, 0.9271, y, -1.31))) << count;
      }
}

TEST(LatticeCuda, ReadsAnyLayout) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  auto generator = at::detail::createCPUGenerator(4);
  const Tensor x = at::randn({2, 3, 5, 7}, generator, at::TensorOptions(at::kFloat));
  const Tensor last = x.contiguous(at::MemoryFormat::ChannelsLast);
  EXPECT_TRUE(
      at::equal(lattice_sum(last.cuda(), 2, x.cuda(), 0.3).cpu(), lattice_sum(x, 2, x, 0.3)));
}

}  // namespace
}  // namespace tiller::test
