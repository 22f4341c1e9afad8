#include "tests/guidance/toy.h"

namespace tiller::test {
namespace {

/// The permutations that TPG draws at the sites given by `layers`, (B, N) each.
std::vector<Tensor> permutations(const std::string& layers, std::vector<uint64_t> seeds, int step) {
  const Model model = toy_model();
  auto chosen = choose_guidances({"tpg:layers=" + layers}, model);
  GuidanceStep at_step;
  at_step.context = {step, 30, std::move(seeds), 4, 6, at::kCPU};
  chosen[0].guidance->begin_step(at_step);
  const Perturbation* perturbation =
      chosen[0].guidance->requests(at_step, {})[0].branch.perturbation;
  std::vector<Tensor> drawn;
  for (const Site& site : model.network->sites())
    if (perturbation->acts_at(site)) drawn.push_back(perturbation->permutation(site));
  return drawn;
}

/// The toy's d1 has 4 x 6 tokens, its m0 2 x 3.
TEST(Tpg, DrawsTorchsNumbers) {
  for (const Json& c : fixture("guidance.json")["permutations"]) {
    const auto drawn = permutations("d1+m0", {c["seed"]}, c["step"]);
    ASSERT_EQ(drawn.size(), 2u);
    for (size_t site = 0; site < 2; ++site)
      EXPECT_TRUE(drawn[site][0].equal(tensor_from(c["drawn"][site]).to(at::kLong))) << c;
  }
}

TEST(Tpg, AnImagesPermutationsAreItsOwn) {
  const auto batch = permutations("all", {3, 4}, 5), alone = permutations("all", {4}, 5);
  ASSERT_EQ(batch.size(), 4u);
  for (size_t site = 0; site < 4; ++site) {
    EXPECT_TRUE(batch[site][1].equal(alone[site][0])) << site;
    EXPECT_TRUE(std::get<0>(batch[site].sort(1))
                    .equal(at::arange(batch[site].size(1)).expand_as(batch[site])));
  }
  EXPECT_FALSE(batch[0][0].equal(batch[0][1]));
  EXPECT_FALSE(batch[0].equal(batch[1]));
  EXPECT_FALSE(batch[0].equal(permutations("all", {3, 4}, 6)[0]));
}

/// Shuffles in one stack compose: which of its blocks shuffle changes nothing but the numbers
/// drawn.
TEST(Tpg, OneCompositeShuffleEqualsThoseInTurn) {
  const Model model = toy_model();
  const Tensor x = normal({2, 4, 4, 6}, 1);
  const auto batch = toy_batch({0, 2}, {11, 12});
  const Tensor composite = guided(model, "tpg:layers=d0-1", x, batch, true).epsilon;
  const Tensor in_turn = guided(model, "tpg:layers=d0-1", x, batch, false).epsilon;
  EXPECT_LT(relative_error(composite, in_turn), 1e-5);
  EXPECT_GT(relative_error(composite, guided(model, "none", x, batch).epsilon), 1e-2);
}

}  // namespace
}  // namespace tiller::test
