/// Rules that act inside a network or on its input, alone.
#include "guidance/nag.h"
#include "guidance/sag.h"
#include "guidance/ssg.h"
#include "tests/guidance/toy.h"

namespace tiller::test {
namespace {

TEST(Nag, EqualsTheFormula) {
  const Tensor i = at::arange(96, at::kDouble).reshape({2, 6, 8});
  const auto heads = [](const Tensor& z) { return split_heads(z.to(at::kFloat), 2); };
  const Tensor positive = heads((0.37 * i + 0.2).sin() + 0.3),
               negative = heads((0.23 * i).cos() - 0.2);
  for (const Json& c : fixture("guidance.json")["normalized"]) {
    const Tensor got = normalized_attention(positive, negative, c["scale"], c["tau"], c["alpha"]);
    EXPECT_LT(relative_error(merge_heads(got), tensor_from(c["output"])), 1e-6) << c["scale"];
  }
  EXPECT_LT(relative_error(normalized_attention(positive, negative, 1, 2.5, 0.5), positive), 1e-6);
  EXPECT_LT(relative_error(normalized_attention(positive, negative, 5, 2.5, 0), positive), 1e-6);
}

TEST(Sag, MasksWhereAttentionDwells) {
  const Tensor i = at::arange(512, at::kDouble).reshape({1, 2, 16, 16});
  const Tensor mask = salient_tokens((3 * (1.1 * i).sin()).softmax(3), 1);
  EXPECT_EQ(largest(mask.flatten() - tensor_from(fixture("guidance.json")["salience"][0])), 0);
}

TEST(Sag, BlursTheEstimateUnderTheMask) {
  const Tensor i = at::arange(1024, at::kDouble).reshape({1, 4, 16, 16});
  const Tensor latent = (0.05 * i * i).remainder(6.28318).sin(), epsilon = (0.4 * i).cos();
  const NoiseLevel level{std::sqrt(0.3), std::sqrt(0.7), 500, 3};
  const Json file = fixture("guidance.json");
  const Tensor mask = at::upsample_nearest2d(
      tensor_from(file["salience"][0]).to(at::kFloat).reshape({1, 1, 4, 4}), {16, 16});
  const auto prediction =
      to_prediction(epsilon.to(at::kFloat), latent.to(at::kFloat), level, PredictionType::epsilon);
  const Tensor got = blurred_input(prediction, level, mask).flatten();
  const Tensor expected = tensor_from(file["blurred_input"][0]);
  EXPECT_LT(relative_error(got.slice(0, 0, got.numel(), 11), expected), 2e-6);
  const Tensor untouched = blurred_input(prediction, level, at::zeros_like(mask));
  EXPECT_LT(relative_error(untouched, latent), 1e-5);
}

TEST(Ssg, SwapsWhatIsLeastAlike) {
  const Tensor i = at::arange(60, at::kDouble).reshape({1, 10, 6});
  const Tensor x = ((0.83 * i + 0.2).sin() + 0.4 * (0.37 * i * i).cos()).to(at::kFloat);
  for (const Json& c : fixture("guidance.json")["swaps"]) {
    const double ratio = c["ratio"];
    const Tensor got = swapped(swapped(x, ratio).transpose(1, 2), ratio).transpose(1, 2);
    EXPECT_LT(largest(got.flatten() - tensor_from(c["output"])), 1e-6) << ratio;
  }
  EXPECT_TRUE(swapped(x, 0).equal(x));
}

TEST(Ssg, APairThatCollidesWithNoneChangesPlaces) {
  const Tensor index = swap_indices(normal({3, 8, 5}, 1), 1);
  for (int64_t image = 0; image < 3; ++image) {
    EXPECT_EQ((index[image] != at::arange(8)).sum().item<int64_t>(), 2);
    EXPECT_TRUE(index[image].index_select(0, index[image]).equal(at::arange(8)));
  }
}

}  // namespace
}  // namespace tiller::test
