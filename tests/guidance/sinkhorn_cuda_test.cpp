#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "guidance/sinkhorn.h"
#include "models/device.h"

namespace tiller {
namespace {

struct Shape {
  int64_t batch, heads, tokens, channels;
};

// Lengths and channels around the kernel's tiles of 64 tokens and 32 channels.
constexpr Shape kShapes[] = {{1, 1, 1, 1},   {2, 3, 63, 32},   {1, 2, 64, 33},
                             {1, 2, 65, 40}, {2, 5, 300, 128}, {1, 1, 1000, 256}};

Tensor largest_difference(const Shape& shape, at::ScalarType dtype, int64_t iterations) {
  const auto options = at::TensorOptions().dtype(at::kFloat);
  const auto size = {shape.batch, shape.tokens, shape.heads, shape.channels};
  // Heads are split off by a transpose, as networks do it.
  const Tensor q = (2 * at::randn(size, options)).to(dtype).transpose(1, 2);
  const Tensor k = (2 * at::randn(size, options)).to(dtype).transpose(1, 2);
  const Tensor expected = dense_sinkhorn_potentials(q, k, iterations);
  const Tensor found = sinkhorn_potentials(q.to(at::kCUDA), k.to(at::kCUDA), iterations);
  EXPECT_TRUE(found.is_cuda());
  EXPECT_EQ(found.scalar_type(), at::kFloat);
  EXPECT_EQ(found.sizes(), expected.sizes());
  return (found.cpu() - expected).abs().max();
}

TEST(SinkhornCuda, EqualsTheReference) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  at::manual_seed(7);
  for (const Shape& shape : kShapes)
    for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble})
      for (const int64_t iterations : {0, 1, 2, 5})
        EXPECT_LT(largest_difference(shape, dtype, iterations).item<float>(), 1e-4)
            << shape.batch << ' ' << shape.heads << ' ' << shape.tokens << ' ' << shape.channels
            << ' ' << dtype << ' ' << iterations;
}

TEST(SinkhornCuda, AnEmptyBatchHasEmptyPotentials) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  const Tensor none = at::zeros({0, 2, 8, 4}, at::kCUDA);
  EXPECT_EQ(sinkhorn_potentials(none, none, 2).sizes(), (at::IntArrayRef{0, 2, 8}));
}

}  // namespace
}  // namespace tiller
