#include "models/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>

#include <array>
#include <fstream>

#include "tests/models/formula.h"

namespace tiller::test {
namespace {

struct Shape {
  int64_t rows, heads, queries, keys, width;
};

/// (rows, heads, N, d) as a network has them, heads beside each other.
Tensor heads_of(const std::string& name, int64_t rows, int64_t heads, int64_t count,
                int64_t width) {
  return (2 * formula_tensor(name, {rows, count, heads, width})).to(at::kBFloat16).transpose(1, 2);
}

struct Inputs {
  Tensor q, k, v;
};

Inputs inputs(const Shape& s) {
  return {heads_of("q", s.rows, s.heads, s.queries, s.width),
          heads_of("k", s.rows, s.heads, s.keys, s.width),
          heads_of("v", s.rows, s.heads, s.keys, s.width)};
}

Tensor exact(const Inputs& in) {
  const auto real = [](const Tensor& x) { return x.to(at::kDouble); };
  return at::scaled_dot_product_attention(real(in.q), real(in.k), real(in.v));
}

/// What Linux says of the processor, for which the kernel asks it itself.
bool has_flag(const std::string& flag) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string word; file >> word;)
    if (word == flag) return true;
  return false;
}

class Bf16Attention : public testing::Test {
 protected:
  void SetUp() override {
    if (at::get_cpu_capability() != "AVX512" || !has_flag("avx512_bf16") || has_flag("amx_bf16"))
      GTEST_SKIP() << "this processor has AMX or doesn't multiply bfloat16 pairs";
  }
};

TEST_F(Bf16Attention, IsWhatAttentionTakes) {
  const Inputs in = inputs({1, 2, 20, 20, 16});
  const Tensor ours = bf16_attention(in.q, in.k, in.v);
  ASSERT_TRUE(ours.defined());
  EXPECT_TRUE(at::equal(attention(in.q, in.k, in.v), ours));
}

TEST_F(Bf16Attention, IsAsExactAsLibTorchs) {
  for (const Shape& shape : {Shape{1, 1, 1, 1, 2},
                             {2, 3, 7, 5, 10},
                             {1, 2, 48, 32, 16},
                             {2, 2, 49, 33, 24},
                             {1, 3, 100, 77, 40},
                             {2, 1, 64, 300, 64},
                             {1, 2, 513, 257, 80},
                             {1, 1, 30, 1000, 96},
                             {1, 1, 25, 64, 112},
                             {1, 2, 70, 64, 160},
                             {1, 1, 60, 520, 512}}) {
    SCOPED_TRACE(std::to_string(shape.queries) + " " + std::to_string(shape.keys) + " " +
                 std::to_string(shape.width));
    const Inputs in = inputs(shape);
    const Tensor expected = exact(in), ours = bf16_attention(in.q, in.k, in.v);
    const double theirs =
        relative_error(at::scaled_dot_product_attention(in.q, in.k, in.v), expected);
    EXPECT_EQ(ours.sizes(), expected.sizes());
    EXPECT_LT(relative_error(ours, expected), std::max(1.5 * theirs, 4e-3));
  }
}

TEST_F(Bf16Attention, LargeScoresAndAnyLayout) {
  Inputs in = inputs({2, 2, 50, 600, 40});
  in.q = (in.q * 30).narrow(2, 1, 49);
  in.k = in.k.narrow(0, 1, 1).expand({2, -1, -1, -1});
  in.v = at::cat({in.v, in.v}, 3).narrow(3, 40, 40);
  EXPECT_LT(relative_error(bf16_attention(in.q, in.k, in.v), exact(in)), 8e-3);
}

TEST_F(Bf16Attention, ImagesDoNotKnowOfEachOtherNorOfThreads) {
  const Inputs in = inputs({3, 2, 130, 130, 40});
  const Tensor together = bf16_attention(in.q, in.k, in.v);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  for (int64_t row = 0; row < 3; ++row) {
    const auto part = [&](const Tensor& x) { return x.narrow(0, row, 1); };
    EXPECT_TRUE(at::equal(bf16_attention(part(in.q), part(in.k), part(in.v)), part(together)));
  }
  at::set_num_threads(threads);
}

TEST_F(Bf16Attention, WhatIsNotANumberStaysOne) {
  Inputs in = inputs({1, 1, 60, 60, 16});
  in.k = in.k.clone();
  in.k[0][0][40].fill_(NAN);
  EXPECT_TRUE(bf16_attention(in.q, in.k, in.v).isnan().all().item<bool>());
}

TEST_F(Bf16Attention, LeavesTheRestToLibTorch) {
  const Inputs in = inputs({1, 1, 8, 8, 16});
  EXPECT_FALSE(bf16_attention(in.q.to(at::kFloat), in.k, in.v).defined());
  const Inputs odd = inputs({1, 1, 8, 8, 15});
  EXPECT_FALSE(bf16_attention(odd.q, odd.k, odd.v).defined());
  EXPECT_TRUE(at::equal(attention(odd.q, odd.k, odd.v),
                        at::scaled_dot_product_attention(odd.q, odd.k, odd.v)));
}

TEST_F(Bf16Attention, HugeScoresAreNumbers) {
  Inputs in = inputs({1, 1, 50, 300, 64});
  in.q = in.q * 1e9;
  const Tensor answers = bf16_attention(in.q, in.k, in.v);
  EXPECT_LE(answers.abs().max().item<float>(), in.v.abs().max().item<float>());
}

TEST(Attention, HasGradientsOfEachInBfloat16) {
  const Inputs in = inputs({1, 2, 9, 9, 16});
  for (int with = 0; with < 3; ++with) {
    SCOPED_TRACE(with);
    std::array<Tensor, 3> x = {in.q.clone(), in.k.clone(), in.v.clone()}, exact;
    for (int i = 0; i < 3; ++i) exact[i] = x[i].to(at::kDouble);
    x[with].set_requires_grad(true);
    exact[with].set_requires_grad(true);
    attention(x[0], x[1], x[2]).sum().backward();
    at::scaled_dot_product_attention(exact[0], exact[1], exact[2]).sum().backward();
    ASSERT_TRUE(x[with].grad().defined());
    EXPECT_LT((x[with].grad() - exact[with].grad()).abs().max().item<double>(), 0.02);
  }
}

}  // namespace
}  // namespace tiller::test
