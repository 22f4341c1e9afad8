#include "guidance/sinkhorn.h"

#include "tests/guidance/toy.h"

namespace tiller::test {
namespace {

/// Rows of the plan, normalised, times v.
Tensor dense_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& g) {
  const Tensor s = -at::matmul(q, k.transpose(2, 3)) / std::sqrt(double(q.size(3)));
  return at::matmul((s + g.unsqueeze(2)).softmax(3), v);
}

TEST(Sinkhorn, EqualsTheWholePlan) {
  const Tensor i = at::arange(72, at::kDouble).reshape({1, 2, 9, 4});
  const Tensor q = (1.5 * (0.77 * i + 0.4).sin()).to(at::kFloat);
  const Tensor k = (1.3 * (0.62 * i).cos()).to(at::kFloat);
  const Tensor v = ((0.41 * i).sin() + 0.2).to(at::kFloat);
  for (const Json& c : fixture("guidance.json")["sinkhorn"]) {
    const Tensor g = sinkhorn_potentials(q, k, c["iterations"]);
    EXPECT_EQ(g.scalar_type(), at::kFloat);
    EXPECT_LT(largest(g.flatten() - tensor_from(c["potentials"])), 3e-6) << c["iterations"];
    EXPECT_LT(relative_error(sinkhorn_attention(q, k, v, g), tensor_from(c["output"])), 2e-6);
  }
}

TEST(Sinkhorn, BlocksEqualDense) {
  for (const int64_t tokens : {1, 7, 64, 300, 1030})
    for (const int64_t d : {4, 64}) {
      const Tensor q = 2 * normal({2, 3, tokens, d}, 1), k = normal({2, 3, tokens, d}, 2);
      const Tensor v = normal({2, 3, tokens, d}, 3);
      const Tensor g = sinkhorn_potentials(q, k, 2), dense = dense_sinkhorn_potentials(q, k, 2);
      EXPECT_LT(largest(g - dense), 4e-6) << tokens << " " << d;
      EXPECT_LT(relative_error(sinkhorn_attention(q, k, v, g), dense_attention(q, k, v, dense)),
                2e-6);
    }
}

/// A key so far from all queries that exp gives its column no mass.
TEST(Sinkhorn, ColumnsWithoutMassAreExact) {
  const Tensor q = normal({1, 2, 40, 4}, 1).abs() + 1, v = normal({1, 2, 40, 4}, 3);
  Tensor k = normal({1, 2, 40, 4}, 2);
  k.select(2, 7).fill_(300);
  k.select(2, 39).fill_(-300);
  const Tensor g = sinkhorn_potentials(q, k, 2), dense = dense_sinkhorn_potentials(q, k, 2);
  EXPECT_GT(largest(dense), 500);
  EXPECT_LT(relative_error(g, dense), 1e-6);
  EXPECT_LT(relative_error(sinkhorn_attention(q, k, v, g), dense_attention(q, k, v, dense)), 1e-4);
}

TEST(Sinkhorn, WithGradientsItIsTheSame) {
  const Tensor q = normal({1, 2, 20, 4}, 1), k = normal({1, 2, 20, 4}, 2);
  const Tensor v = normal({1, 2, 20, 4}, 3).requires_grad_();
  const Tensor g = sinkhorn_potentials(q, k, 2), out = sinkhorn_attention(q, k, v, g);
  EXPECT_LT(relative_error(out, sinkhorn_attention(q, k, v.detach(), g)), 1e-6);
  out.sum().backward();
  EXPECT_LT(largest(v.grad().sum(2) - 20), 1e-4);  // rows of the plan sum to 1
}

/// Queries and keys as networks hand them over: heads split by a view.
TEST(Sinkhorn, TakesStridedTensors) {
  const auto parts = normal({2, 10, 3 * 8}, 1).chunk(3, 2);
  const auto split = [](const Tensor& x) { return x.reshape({2, 10, 2, 4}).transpose(1, 2); };
  const Tensor q = split(parts[0]), k = split(parts[1]), v = split(parts[2]);
  const Tensor got = sinkhorn_attention(q, k, v, sinkhorn_potentials(q, k, 2));
  const Tensor g = sinkhorn_potentials(q.contiguous(), k.contiguous(), 2);
  EXPECT_LT(
      relative_error(got, sinkhorn_attention(q.contiguous(), k.contiguous(), v.contiguous(), g)),
      1e-6);
}

/// Marginals of 1 in the limit, and large logits don't overflow.
TEST(Sinkhorn, ConvergesToADoublyStochasticPlan) {
  const Tensor q = 8 * normal({1, 1, 12, 4}, 1), k = 8 * normal({1, 1, 12, 4}, 2);
  const Tensor one = at::ones({1, 1, 12, 4});
  const Tensor g = sinkhorn_potentials(q, k, 1000);
  const Tensor s = -at::matmul(q, k.transpose(2, 3)) / 2;
  EXPECT_GT(largest(s), 88);  // exp would overflow
  const Tensor plan = (s + g.unsqueeze(2)).softmax(3);
  EXPECT_LT(largest(plan.sum(2) - 1), 1e-2);
  EXPECT_LT(largest(sinkhorn_attention(q, k, one, g) - 1), 1e-5);
}

TEST(Sinkhorn, HalfPrecisionKeepsThePotentials) {
  const Tensor q = 2 * normal({1, 2, 100, 16}, 1), k = 2 * normal({1, 2, 100, 16}, 2);
  const Tensor v = normal({1, 2, 100, 16}, 3);
  for (const auto type : {at::kHalf, at::kBFloat16}) {
    const Tensor qh = q.to(type), kh = k.to(type), vh = v.to(type);
    const Tensor g = sinkhorn_potentials(qh, kh, 2);
    EXPECT_LT(largest(g - dense_sinkhorn_potentials(qh.to(at::kFloat), kh.to(at::kFloat), 2)),
              4e-6);
    const Tensor got = sinkhorn_attention(qh, kh, vh, g);
    EXPECT_EQ(got.scalar_type(), type);
    const Tensor exact =
        dense_attention(qh.to(at::kFloat), kh.to(at::kFloat), vh.to(at::kFloat), g);
    EXPECT_LT(relative_error(got, exact), type == at::kHalf ? 1e-3 : 8e-3);
  }
}

}  // namespace
}  // namespace tiller::test
