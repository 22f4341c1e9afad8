#include "guidance/seg.h"

#include "tests/guidance/toy.h"

namespace tiller::test {
namespace {

Tensor queries(int64_t tokens) {
  const Tensor i = at::arange(2 * tokens * 3, at::kDouble).reshape({1, 2, tokens, 3});
  return ((0.9 * i).sin() + 0.2 * (0.31 * i).cos()).to(at::kFloat);
}

TEST(Seg, BlursAsTheAuthorsDo) {
  for (const Json& c : fixture("guidance.json")["blurs"]) {
    const int64_t height = c["height"], width = c["width"];
    const double sigma = std::stod(c["sigma"].get<std::string>());
    if (std::isinf(sigma)) continue;
    const Tensor q = queries(height * width);
    const Tensor got =
        blur_tokens(q, blur_matrix(height, sigma), blur_matrix(width, sigma)).flatten();
    EXPECT_LT(relative_error(got.slice(0, 0, got.numel(), 7), tensor_from(c["queries"])), 3e-6)
        << c;
  }
}

/// SEG's attention on 4 x 6 tokens at the toy's d0.
Tensor attended(const std::string& sigma, const Tensor& q, const Tensor& k, const Tensor& v) {
  const Model model = toy_model();
  auto chosen = choose_guidances({"seg:layers=d0,sigma=" + sigma}, model);
  GuidanceStep step;
  step.context = {0, 30, {1, 2}, 4, 6, at::kCPU};
  chosen[0].guidance->begin_step(step);
  const auto request = chosen[0].guidance->requests(step, {})[0];
  return request.branch.perturbation->attention(model.network->sites()[0], q, k, v);
}

TEST(Seg, InfinityIsTheMean) {
  const Tensor q = normal({2, 2, 24, 4}, 1), k = normal({2, 2, 24, 4}, 2),
               v = normal({2, 2, 24, 4}, 3);
  const Tensor got = attended("inf", q, k, v);
  ASSERT_EQ(got.sizes(), v.sizes());
  EXPECT_EQ(largest(got - got.narrow(2, 0, 1)), 0);
  const Tensor mean = q.mean(2, true).expand_as(q).contiguous();
  EXPECT_LT(relative_error(got, at::scaled_dot_product_attention(mean, k, v)), 1e-5);
  EXPECT_TRUE(attended("9999999", q, k, v).equal(got));
}

TEST(Seg, ASmallSigmaIsPlainAttention) {
  const Tensor q = normal({2, 2, 24, 4}, 1), k = normal({2, 2, 24, 4}, 2),
               v = normal({2, 2, 24, 4}, 3);
  const Tensor plain = at::scaled_dot_product_attention(q, k, v);
  EXPECT_LT(relative_error(attended("0.05", q, k, v), plain), 1e-5);
  EXPECT_GT(relative_error(attended("1", q, k, v), plain), 1e-2);
}

}  // namespace
}  // namespace tiller::test
