#include "guidance/word_maps.h"

#include "tests/guidance/toy.h"

namespace tiller::test {
namespace {

Tensor values_of(const Json& values, at::IntArrayRef shape) {
  return at::tensor(values.get<std::vector<double>>(), at::kDouble).view(shape);
}

TEST(WordMaps, SuppressionEqualsAtMan) {
  const Json expected = fixture("word_maps.json").at("suppression");
  const Tensor scores = 2 * (0.7 * at::arange(16, at::kDouble)).sin().view({1, 1, 4, 4});
  const Tensor got = suppressed_scores(scores, at::tensor({1., 0.1, 1., 1.}).unsqueeze(0));
  EXPECT_LT(relative_error(got, values_of(expected.at("scores"), {1, 1, 4, 4})), 1e-6);
  EXPECT_LT(relative_error(got.softmax(3), values_of(expected.at("probabilities"), {1, 1, 4, 4})),
            1e-6);
}

TEST(WordMaps, NothingSuppressedIsOrdinaryAttention) {
  const Tensor q = normal({2, 3, 5, 4}, 1), k = normal({2, 3, 7, 4}, 2),
               v = normal({2, 3, 7, 4}, 3);
  EXPECT_LT(relative_error(suppressed_attention(q, k, v, at::ones({2, 7})),
                           at::scaled_dot_product_attention(q, k, v)),
            1e-5);
}

TEST(WordMaps, ColumnsAreThoseOfTheSoftmax) {
  const Tensor q = normal({2, 3, 5, 4}, 1), k = normal({2, 3, 7, 4}, 2);
  const Tensor columns = at::tensor({1, 6, 2, 2}, at::kLong).view({2, 2});
  const Tensor all = (at::matmul(q, k.transpose(2, 3)) / 2).softmax(3);
  const Tensor got = attention_columns(q, k, columns);
  for (int64_t image = 0; image < 2; ++image)
    EXPECT_LT(relative_error(got[image], all[image].index_select(2, columns[image])), 1e-5);
}

/// A map that is uniform over the tokens stays so at the latent's size, whatever block it is from.
TEST(WordMaps, AverageOverBlocksAndTokens) {
  AttentionMaps maps({{{1, 2}, {}}, {{0}, {3}}}, 7, 9);
  const auto attend = [&](Part part, int order, int downscale, int64_t tokens, double sharp) {
    Tensor k = at::zeros({2, 1, 4, 2});
    k.select(2, 1).fill_(sharp);
    maps.observe({"block", part, order, order, order, downscale, 1}, at::ones({2, 1, tokens, 2}),
                 k);
  };
  attend(Part::down, 0, 1, 7 * 9, 0);
  attend(Part::down, 1, 2, 4 * 5, std::log(5) / std::sqrt(2));  // 5/8 for key 1, 1/8 for others
  attend(Part::mid, 2, 2, 4 * 5, 3);                            // not read, nor are these
  attend(Part::up, 3, 8, 2, 3);
  const Tensor got = maps.maps();
  ASSERT_EQ(got.sizes(), at::IntArrayRef({2, 2, 7, 9}));
  const auto expect = [&](int64_t image, int64_t word, double value) {
    EXPECT_LT(largest(got[image][word] - value), 1e-6) << image << " " << word;
  };
  expect(0, 0, (0.25 + (5. / 8 + 1. / 8) / 2) / 2);
  expect(0, 1, (0.25 + 1. / 8) / 2);
  expect(1, 0, 0);
  expect(1, 1, (0.25 + 1. / 8) / 2);
}

/// Two evaluations a step count once; every second step counts, from the first one on.
TEST(WordMaps, EffectsAreMeasuredAtChosenSteps) {
  const Model model = text_model();
  const Tensor x = normal({2, 4, 8, 8}, 3);
  const auto effect = [&](const std::vector<int>& steps, bool share) {
    GuidedBatch batch = text_batch({1, 2});
    const auto effects =
        std::make_shared<WordEffects>(std::vector<WordTokens>{{{1, 2}, {}}}, /*every=*/2);
    batch.onlooker = effects;
    auto guidances = choose_guidances({"cfg:scale=3"}, model);
    const Denoiser denoise = guided_denoiser(model, guidances, batch, share);
    for (const int step : steps) denoise(x, level_at(step));
    return effects->maps();
  };
  const Tensor once = effect({3}, true);
  ASSERT_EQ(once.sizes(), at::IntArrayRef({2, 1, 8, 8}));
  EXPECT_GT(largest(once[0]), 1e-3);
  EXPECT_EQ(largest(once[1]), 0);
  EXPECT_LT(relative_error(effect({3}, false), once), 1e-4);
  EXPECT_TRUE(effect({3, 3, 4}, true).equal(once));
  EXPECT_GT(relative_error(effect({3, 4, 5}, true), once), 0.5);
}

TEST(WordMaps, OnlookersAddNothing) {
  const Model model = text_model();
  const Tensor x = normal({1, 4, 8, 8}, 3);
  const GuidedBatch plain = text_batch({1});
  GuidedBatch watched = plain;
  int seen = 0;
  watched.observer = [&](const Site&, const Tensor& q, const Tensor& k) {
    seen += int(q.size(0) == 1 && k.size(2) == 5);
  };
  const Tensor expected = guided(model, "cfg:scale=3 + nag", x, plain).sample;
  EXPECT_TRUE(guided(model, "cfg:scale=3 + nag", x, watched).sample.tensor().equal(expected));
  EXPECT_EQ(seen, int(model.network->sites().size()));
  watched.onlooker = std::make_shared<WordEffects>(std::vector<WordTokens>{{{1}}}, 1);
  EXPECT_LT(relative_error(guided(model, "cfg:scale=3 + nag", x, watched).sample, expected), 1e-5);
}

}  // namespace
}  // namespace tiller::test
