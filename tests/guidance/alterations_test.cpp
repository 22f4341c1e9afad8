/// Rules that a network follows in all branches.
#include "guidance/entmax.h"
#include "guidance/freeu.h"
#include "models/attention.h"
#include "models/feature_cache.h"
#include "tests/guidance/toy.h"

namespace tiller::test {
namespace {

Tensor wave_scores(const Json& c) {
  const auto tokens = c["tokens"].get<int64_t>();
  const Tensor i = at::arange(6 * tokens, at::kDouble).reshape({6, tokens});
  return (c["size"].get<double>() * (0.83 * i + 0.2 * i * i).sin()).to(at::kFloat);
}

TEST(Sparse, EqualsEntmax) {
  const Json cases = fixture("guidance_rules.json")["sparse"];
  EXPECT_GE(cases.size(), 6u);
  for (const Json& c : cases) {
    SCOPED_TRACE(c["tokens"].dump() + " " + c["size"].dump());
    const Tensor scores = wave_scores(c);
    const auto thinned = [](const Tensor& x) { return x.flatten().slice(0, 0, x.numel(), 3); };
    const Tensor soft = entmax15(scores), hard = sparsemax(scores);
    EXPECT_LT(largest(thinned(soft) - tensor_from(c["entmax15"])), 1e-6);
    EXPECT_LT(largest(thinned(hard) - tensor_from(c["sparsemax"])), 1e-6);
    EXPECT_LT(largest(soft.sum(-1) - 1), 2e-5);
    EXPECT_LT(largest(hard.sum(-1) - 1), 2e-5);
  }
}

/// Rows on a CPU go one by one to their thresholds; gradients and GPUs have them sorted.
TEST(Sparse, BothWaysAgree) {
  for (const int64_t tokens : {1, 3, 16, 77, 231})
    for (const double size : {0.0, 0.01, 1.0, 5.0, 300.0}) {
      SCOPED_TRACE(std::to_string(tokens) + " " + std::to_string(size));
      const Tensor scores = size * normal({2, 3, 50, tokens}, 9);
      const Tensor sorted = scores.clone().requires_grad_();
      EXPECT_LT(largest(entmax15(scores) - entmax15(sorted).detach()), 3e-6);
      EXPECT_LT(largest(sparsemax(scores) - sparsemax(sorted).detach()), 3e-6);
    }
}

TEST(Sparse, HasGradients) {
  const Tensor scores = normal({2, 7}, 3).requires_grad_();
  entmax15(scores).square().sum().backward();
  EXPECT_GT(largest(scores.grad()), 1e-3);
}

TEST(Sparse, LeavesMostTokensOut) {
  const Tensor scores = 3 * normal({40, 77}, 1);
  EXPECT_LT((entmax15(scores) > 0).sum(-1).max().item<int64_t>(), 30);
  EXPECT_LT((sparsemax(scores) > 0).sum(-1).max().item<int64_t>(), 10);
}

TEST(FreeU, EqualsDiffusers) {
  const Json cases = fixture("guidance_rules.json")["features"];
  EXPECT_GE(cases.size(), 6u);
  for (const Json& c : cases) {
    const auto shape = c["shape"].get<std::vector<int64_t>>();
    SCOPED_TRACE(c["shape"].dump());
    const Tensor i = at::arange(at::prod(at::tensor(shape)).item<int64_t>(), at::kDouble);
    const Tensor x = ((0.7 * i + 0.1).sin() + 0.5).to(at::kFloat).reshape(shape);
    EXPECT_LT(largest(amplified(x, 1.3).flatten() - tensor_from(c["amplified"])), 1e-6);
    EXPECT_LT(largest(damped(x, 0.2).flatten() - tensor_from(c["damped"])), 2e-6);
    if (c.contains("by_mean")) {
      EXPECT_LT(largest(amplified_by_mean(x, 1.3).flatten() - tensor_from(c["by_mean"])), 1e-6);
    }
  }
}

TEST(FreeU, KeepsTypesAndOneConstantImage) {
  const Tensor x = at::full({1, 4, 3, 3}, 0.5, at::kBFloat16);
  for (const Tensor& y : {amplified(x, 1.3), amplified_by_mean(x, 1.3), damped(x, 0.2)}) {
    EXPECT_EQ(y.scalar_type(), at::kBFloat16);
    EXPECT_TRUE(y.isfinite().all().item<bool>());
  }
  EXPECT_TRUE(amplified_by_mean(x, 1.3).equal(x));
}

/// Every other weight of a row from its neighbour.
class Swapped final : public AttentionWeights {
 public:
  Tensor operator()(const Tensor& scores) const override { return scores.softmax(-1).flip(-1); }
};

TEST(AttentionWeights, TakeTheValuesOfAllRows) {
  const Tensor q = normal({3, 2, 5, 4}, 1), k = normal({3, 2, 6, 4}, 2),
               v = normal({3, 2, 6, 4}, 3);
  const Swapped swapped;
  EXPECT_LT(
      relative_error(attention(q, k, v, &swapped),
                     at::matmul((at::matmul(q, k.transpose(2, 3)) / 2).softmax(-1), v.flip(2))),
      1e-5);
  EXPECT_TRUE(attention(q, k, v, nullptr).equal(attention(q, k, v)));
}

TEST(Pladis, GoesFromSoftmaxToTheSparseMapAndBeyond) {
  const Model model = text_model();
  const Tensor scores = normal({1, 2, 4, 9}, 1);
  const auto weights = [&](const std::string& text) {
    const auto chosen = choose_guidances({text}, model);
    return (*chosen[0].guidance->alterations().text)(scores);
  };
  const Tensor soft = scores.softmax(-1);
  EXPECT_LT(largest(weights("pladis:scale=1") - entmax15(scores)), 1e-6);
  EXPECT_LT(largest(weights("pladis") - (2 * entmax15(scores) - soft)), 1e-6);
  EXPECT_LT(
      largest(weights("pladis:scale=0.5,sparse_func=sparsemax") - 0.5 * (sparsemax(scores) + soft)),
      1e-6);
}

const std::vector<std::string> kAltering = {"pladis", "freeu", "freeu:version=2,by=channels"};

/// The unconditional branch, those of perturbations and NAG's second text follow the rules too.
TEST(Alterations, ActInAllBranches) {
  const at::NoGradGuard guard;
  const Model model = text_model();
  const Tensor x = normal({1, 4, 8, 8}, 1);
  const auto batch = text_batch({7});
  auto negative = batch;
  negative.positive = *batch.negative;
  for (const auto& text : kAltering) {
    SCOPED_TRACE(text);
    const auto alone = [&](const std::string& more, const GuidedBatch& of) -> Tensor {
      return guided(model, text + more, x, of).epsilon;
    };
    const Tensor c = alone("", batch), u = alone("", negative);
    EXPECT_LT(relative_error(alone(" + cfg:scale=3", batch), u + 3 * (c - u)), 1e-5);
    const Tensor pag = alone(" + pag:scale=1", batch) - c;
    EXPECT_LT(
        relative_error(alone(" + pag:scale=2 + cfg:scale=3", batch), u + 3 * (c - u) + 2 * pag),
        1e-5);
    EXPECT_GT(relative_error(alone(" + nag", batch), guided(model, "nag", x, batch).epsilon), 1e-3);
  }
}

TEST(Alterations, CostNoEvaluation) {
  const at::NoGradGuard guard;
  const Model model = text_model();
  const Tensor x = normal({1, 4, 8, 8}, 1);
  for (const auto& text : kAltering) {
    GuidanceCost plain, altered;
    guided(model, "cfg", x, text_batch({7}), true, &plain);
    guided(model, "cfg + " + text, x, text_batch({7}), true, &altered);
    EXPECT_EQ(altered.branches, 2) << text;
    EXPECT_EQ(altered.evaluations, 1) << text;
    EXPECT_EQ(altered.flops.spent, plain.flops.spent) << text;
  }
}

TEST(Alterations, KeepToTheirIntervalAndWithoutStrengthChangeNoBit) {
  const at::NoGradGuard guard;
  const Model model = text_model();
  const Tensor x = normal({1, 4, 8, 8}, 1);
  const auto made = [&](const std::string& text, int step) -> Tensor {
    return guided(model, text, x, text_batch({7}), true, nullptr, step).epsilon;
  };
  for (const auto& text : kAltering)
    for (int step = 0; step < 10; ++step) {
      const std::string joint = contains(text, ":") ? "," : ":";
      const bool same = made(text + joint + "from=0.2,to=0.5", step).equal(made("none", step));
      EXPECT_EQ(same, step < 2 || step >= 5) << text << step;
    }
  for (const std::string idle : {"pladis:scale=0", "freeu:b1=1,b2=1,s1=1,s2=1", "tag:scale=1"})
    EXPECT_TRUE(made("cfg + " + idle, 3).equal(made("cfg", 3))) << idle;
}

/// By channels a block counts whose features are four or two times as wide as the first layer's: in
/// this network none is four times as wide.
TEST(FreeU, PlacesByStageAndByChannels) {
  const at::NoGradGuard guard;
  const Model model = text_model();
  const Tensor x = normal({1, 4, 8, 8}, 1);
  const auto made = [&](const std::string& options) -> Tensor {
    return guided(model, "freeu:" + options, x, text_batch({7})).epsilon;
  };
  const Tensor plain = guided(model, "none", x, text_batch({7})).epsilon;
  EXPECT_TRUE(made("b1=3,s1=3,b2=1,s2=1,by=channels").equal(plain));
  EXPECT_GT(relative_error(made("b1=1,s1=1,by=channels"), plain), 1e-3);
  EXPECT_GT(relative_error(made("b2=1,s2=1"), plain), 1e-3);
  EXPECT_GT(relative_error(made("b1=1,s1=1"), plain), 1e-3);
}

TEST(FreeU, ServesModelsOfClasses) {
  const at::NoGradGuard guard;
  const Model model = adm_model();
  const Tensor x = normal({1, 3, 4, 4}, 1);
  const auto made = [&](const std::string& text) -> Tensor {
    return guided(model, text, x, toy_batch({1}, {7})).epsilon;
  };
  EXPECT_GT(relative_error(made("freeu"), made("none")), 1e-3);
  EXPECT_GT(relative_error(made("freeu:b2=1,s2=1"), made("none")), 1e-3);
}

}  // namespace
}  // namespace tiller::test
