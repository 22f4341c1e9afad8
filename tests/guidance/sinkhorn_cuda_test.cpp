#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "guidance/sinkhorn.h"
#include "models/device.h"
#include "tests/cuda_on_cpu.h"
// These need cuda_on_cpu.h's words.
#include "guidance/sinkhorn_float.cuh"
#include "guidance/sinkhorn_half.cuh"

namespace tiller {
namespace {

struct Shape {
  int64_t batch, heads, tokens, channels;
};

// Lengths and channels around the kernel's tiles of 64 tokens and 32 channels; the widths of heads
// that models have, and one beyond what tensor cores are used for.
constexpr Shape kShapes[] = {{1, 1, 1, 1},     {2, 3, 63, 32},    {1, 2, 64, 33}, {1, 2, 65, 40},
                             {2, 5, 300, 128}, {1, 1, 1000, 256}, {1, 2, 77, 64}, {1, 1, 100, 80},
                             {1, 1, 7, 160},   {1, 1, 20, 264}};

/// The same values, from an address that packs of eight can't be read at.
Tensor unaligned(const Tensor& x) {
  const Tensor room = at::empty({x.numel() + 1}, x.options());
  return room.narrow(0, 1, x.numel()).view(x.sizes()).copy_(x);
}

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

Tensor formula(const Shape& shape, at::ScalarType dtype) {
  const auto size = {shape.batch, shape.heads, shape.tokens, shape.channels};
  return (2 * at::randn(size, at::TensorOptions().dtype(at::kFloat))).to(dtype);
}

unsigned blocks_of(const Shape& s, int64_t rows) {
  return unsigned(s.batch * s.heads * ((s.tokens + rows - 1) / rows));
}

/// Calls half_step(rows, columns, bias, out) for two rounds, and compares.
template <class T, class HalfStep>
void expect_potentials(const Shape& shape, at::ScalarType dtype, const HalfStep& half_step,
                       bool aligned = true) {
  Tensor q = formula(shape, dtype), k = formula(shape, dtype);
  if (!aligned) q = unaligned(q), k = unaligned(k);
  Tensor g = at::zeros({shape.batch, shape.heads, shape.tokens});
  Tensor f = at::full_like(g, std::numeric_limits<float>::quiet_NaN());
  const auto run = [&](const Tensor& rows, const Tensor& columns, const Tensor& bias, Tensor& out) {
    half_step(rows.const_data_ptr<T>(), columns.const_data_ptr<T>(), bias.const_data_ptr<float>(),
              out.mutable_data_ptr<float>(), 1 / std::sqrt(float(shape.channels)));
  };
  for (int round = 0; round < 2; ++round) {
    run(q, k, g, f);
    run(k, q, f, g);
  }
  EXPECT_LT((g - dense_sinkhorn_potentials(q, k, 2)).abs().max().item<float>(), 1e-4)
      << shape.tokens << " tokens of " << shape.channels << ' ' << dtype;
}

template <class T>
void expect_ordinary_units_right(const Shape& s, at::ScalarType dtype) {
  expect_potentials<T>(
      s, dtype, [&](const T* rows, const T* columns, const float* bias, float* out, float scale) {
        cuda_on_cpu::launch({blocks_of(s, kernels::kTile)}, {kernels::kThreads}, 0, [&] {
          kernels::sinkhorn_half_step<T>(rows, columns, bias, out, s.tokens, int(s.channels),
                                         scale);
        });
      });
}

TEST(SinkhornKernels, OnOrdinaryUnitsEqualTheReferenceOnTheCpu) {
  at::manual_seed(7);
  for (const Shape& s : {Shape{1, 1, 1, 1}, {2, 3, 63, 32}, {1, 2, 64, 33}, {1, 1, 130, 40}})
    expect_ordinary_units_right<float>(s, at::kFloat);
  expect_ordinary_units_right<at::Half>({1, 1, 20, 264}, at::kHalf);
  expect_ordinary_units_right<at::BFloat16>({1, 1, 20, 264}, at::kBFloat16);
}

template <class T, int steps>
void expect_tensor_cores_right(const Shape& s, at::ScalarType dtype, bool packed) {
  expect_potentials<T>(
      s, dtype,
      [&](const T* rows, const T* columns, const float* bias, float* out, float scale) {
        const auto kernel =
            kernels::sinkhorn_half_step_on_tensor_cores<T, std::is_same_v<T, at::BFloat16>, steps>;
        cuda_on_cpu::launch(
            {blocks_of(s, kernels::kBlockRows)}, {kernels::kWarps * kernels::kLanes},
            kernels::columns_shared_bytes<steps>(),
            [&] { kernel(rows, columns, bias, out, s.tokens, int(s.channels), scale, packed); });
      },
      packed);
}

TEST(SinkhornKernels, OnTensorCoresEqualTheReferenceOnTheCpu) {
  at::manual_seed(7);
  expect_tensor_cores_right<at::Half, 2>({2, 3, 63, 32}, at::kHalf, true);
  expect_tensor_cores_right<at::BFloat16, 3>({1, 2, 64, 40}, at::kBFloat16, true);
  expect_tensor_cores_right<at::BFloat16, 4>({1, 1, 130, 64}, at::kBFloat16, true);
  expect_tensor_cores_right<at::Half, 3>({1, 2, 65, 33}, at::kHalf, false);
  expect_tensor_cores_right<at::BFloat16, 2>({1, 1, 1, 1}, at::kBFloat16, false);
  expect_tensor_cores_right<at::Half, 4>({1, 2, 77, 64}, at::kHalf, true);
  expect_tensor_cores_right<at::Half, 4>({1, 1, 77, 64}, at::kHalf, false);
  expect_tensor_cores_right<at::BFloat16, 5>({1, 1, 100, 80}, at::kBFloat16, true);
  expect_tensor_cores_right<at::BFloat16, 10>({1, 1, 7, 160}, at::kBFloat16, true);
  expect_tensor_cores_right<at::Half, 16>({1, 1, 20, 256}, at::kHalf, true);
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

TEST(SinkhornCuda, ReadsUnalignedKeys) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  at::manual_seed(7);
  for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    const Tensor q = formula({1, 2, 77, 64}, dtype), k = formula({1, 2, 77, 64}, dtype);
    const Tensor found = sinkhorn_potentials(q.to(at::kCUDA), unaligned(k.to(at::kCUDA)), 2);
    EXPECT_LT((found.cpu() - dense_sinkhorn_potentials(q, k, 2)).abs().max().item<float>(), 1e-4)
        << dtype;
  }
}

/// softmax(-q k^T / sqrt(d) + g) v of the same rounded values, in float32.
Tensor dense_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& g) {
  const auto wide = [](const Tensor& x) { return x.to(at::kFloat); };
  const Tensor logits =
      at::matmul(wide(q), wide(k).transpose(2, 3)) * (-1 / std::sqrt(double(q.size(3))));
  return at::matmul(at::softmax(logits + g.unsqueeze(2), 3), wide(v));
}

void expect_dense_attention(at::Device device) {
  at::manual_seed(7);
  const auto there = [&](const Tensor& x) { return x.to(device); };
  for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16})
    for (const Shape& shape : {Shape{2, 3, 63, 32}, {1, 2, 77, 64}, {1, 2, 100, 40}}) {
      const Tensor q = formula(shape, dtype), k = formula(shape, dtype), v = formula(shape, dtype);
      const Tensor g = dense_sinkhorn_potentials(q, k, 2);
      const Tensor found = sinkhorn_attention(there(q), there(k), there(v), there(g));
      EXPECT_EQ(found.scalar_type(), dtype);
      const Tensor error = (found.cpu().to(at::kFloat) - dense_attention(q, k, v, g)).abs().max();
      EXPECT_LT(error.item<float>(), dtype == at::kFloat  ? 1e-4
                                     : dtype == at::kHalf ? 5e-3
                                                          : 4e-2)
          << dtype << ' ' << shape.tokens;
    }
}

TEST(SinkhornAttention, IsTheDenseFormInEveryType) { expect_dense_attention(at::kCPU); }

TEST(SinkhornCuda, AttendsAsTheDenseForm) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  expect_dense_attention(at::kCUDA);
}

TEST(SinkhornCuda, AnEmptyBatchHasEmptyPotentials) {
  if (!cuda_kernels_problem().empty())
    GTEST_SKIP() << "No CUDA kernels: " << cuda_kernels_problem();
  const Tensor none = at::zeros({0, 2, 8, 4}, at::kCUDA);
  EXPECT_EQ(sinkhorn_potentials(none, none, 2).sizes(), (at::IntArrayRef{0, 2, 8}));
}

}  // namespace
}  // namespace tiller
