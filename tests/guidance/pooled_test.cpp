#include "guidance/pooled_denoiser.h"

#include "io/error.h"
#include "tests/guidance/toy.h"

namespace tiller::test {
namespace {

/// Steps whose levels have nothing in common.
const std::vector<NoiseLevel> kLevels = {
    {0.6, 0.8, 700, 2}, {0.8, 0.6, 480.5, 5}, {0.28, 0.96, 900, 1}, {0.96, 0.28, 40, 8}};

std::vector<Tensor> window(const Model& model) {
  std::vector<Tensor> x;
  for (size_t i = 0; i < kLevels.size(); ++i)
    x.push_back(normal({2, model.network->in_channels(), 8, 8}, 20 + i));
  return x;
}

Prediction alone(const Model& model, const std::string& text, const Tensor& x,
                 const NoiseLevel& level, const GuidedBatch& batch) {
  auto chosen = choose_guidances({text}, model);
  return guided_denoiser(model, chosen, batch, true)(x, level);
}

/// What a window's evaluation cost, after a comparison of each of its steps with the same alone.
GuidanceCost expect_as_alone(const Model& model, const std::string& text, const GuidedBatch& batch,
                             bool share = true) {
  SCOPED_TRACE(model.kind + " " + text);
  const auto chosen = choose_guidances({text}, model);
  GuidanceCost cost;
  const auto pooled =
      pooled_denoiser(model, guidance_sets(chosen, model, kLevels.size()), batch, share, &cost);
  const auto x = window(model);
  const auto got = pooled(x, kLevels);
  for (size_t i = 0; i < x.size(); ++i) {
    const Prediction expected = alone(model, text, x[i], kLevels[i], batch);
    EXPECT_LT(relative_error(got[i].epsilon, expected.epsilon), 2e-5) << i;
    EXPECT_LT(relative_error(got[i].sample, expected.sample), 2e-5) << i;
    EXPECT_EQ(got[i].renoise.defined(), expected.renoise.defined());
    if (expected.renoise.defined()) {
      EXPECT_LT(relative_error(got[i].renoise, expected.renoise), 2e-5) << i;
    }
  }
  return cost;
}

TEST(PooledDenoiser, EqualsEachStepAlone) {
  const at::NoGradGuard guard;
  const std::vector<std::string> texts = {"none",
                                          "cfg:scale=3",
                                          "cfg++",
                                          "tpg:layers=all",
                                          "pag + slg",
                                          "seg:sigma=1",
                                          "ssg",
                                          "asag",
                                          "tsg + cfg",
                                          "icg",
                                          "dynthresh",
                                          "cfg-zero",
                                          "apg:momentum=0",
                                          "cfg + sag + pag",
                                          "swg:masked=false",
                                          "cfg:scale=2 + tpg + tpg:layers=m0"};
  const Model toy = toy_model(), adm = adm_model(), text = text_model();
  for (const auto& each : texts) expect_as_alone(toy, each, toy_batch({0, 2}, {7, 8}));
  for (const std::string each : {"cfg + sag + pag", "tpg:layers=all"})
    expect_as_alone(adm, each, toy_batch({0, 2}, {7, 8}));
  for (const std::string each :
       {"cfg + nag + slg + tpg", "nag + sag", "seg + icg", "mambo + pladis + freeu + tag",
        "tag-cfg + freeu:version=2 + pag", "cfg + pladis:from=0.2,to=0.6 + freeu:from=0.5"})
    expect_as_alone(text, each, text_batch({7, 8}));
}

TEST(PooledDenoiser, TakesLearnedVarianceApart) {
  const at::NoGradGuard guard;
  const Model model = toy_model(true);
  const GuidedBatch batch = toy_batch({0, 2}, {7, 8});
  const auto chosen = choose_guidances({"cfg"}, model);
  const auto x = window(model);
  const auto got =
      pooled_denoiser(model, guidance_sets(chosen, model, x.size()), batch, true)(x, kLevels);
  for (size_t i = 0; i < x.size(); ++i)
    EXPECT_LT(
        relative_error(got[i].variance, alone(model, "cfg", x[i], kLevels[i], batch).variance),
        1e-5);
}

TEST(PooledDenoiser, AsksOnceForAllSteps) {
  const at::NoGradGuard guard;
  const Model model = adm_model();
  const GuidedBatch batch = toy_batch({0, 2}, {7, 8});
  const GuidanceCost cost = expect_as_alone(model, "cfg + tpg", batch);
  EXPECT_EQ(cost.evaluations, 1);
  EXPECT_EQ(cost.windows, 1);
  EXPECT_EQ(cost.window_steps, 8);
  EXPECT_EQ(expect_as_alone(model, "sag", batch).evaluations, 2);
  EXPECT_EQ(expect_as_alone(model, "cfg + freeu", batch).evaluations, 1);
  EXPECT_EQ(expect_as_alone(model, "cfg + freeu:to=0.5", batch).evaluations, 2);
}

/// Guidance at some of the steps: these go into a batch of their own, and nothing is asked for the
/// others.
TEST(PooledDenoiser, KeepsIntervals) {
  const at::NoGradGuard guard;
  const Model model = adm_model();
  const GuidedBatch batch = toy_batch({0, 2}, {7, 8});
  EXPECT_EQ(expect_as_alone(model, "cfg:scale=3,from=0.2,to=0.6", batch).evaluations, 2);
  EXPECT_EQ(
      expect_as_alone(model, "cfg:sigma_from=2,sigma_to=0.5 + tpg:from=0.5", batch).evaluations, 4);
}

TEST(PooledDenoiser, SharesLayersAsEachStepAlone) {
  const at::NoGradGuard guard;
  const Model model = adm_model();
  const GuidedBatch batch = toy_batch({0, 2}, {7, 8});
  for (const std::string text : {"tpg", "cfg:scale=2 + tpg", "slg + pag"}) {
    GuidanceCost one;
    auto chosen = choose_guidances({text}, model);
    guided_denoiser(model, chosen, batch, true, &one)(window(model)[0], kLevels[0]);
    const GuidanceCost all = expect_as_alone(model, text, batch);
    EXPECT_NEAR(all.flops.spent, 4 * one.flops.spent, 1e-6 * all.flops.spent) << text;
    EXPECT_LT(all.flops.spent, all.flops.unshared) << text;
    const GuidanceCost unshared = expect_as_alone(model, text, batch, false);
    if (contains(text, "pag"))
      EXPECT_LT(unshared.flops.spent, (1 - 1e-4) * unshared.flops.unshared);
    else
      EXPECT_NEAR(unshared.flops.spent, unshared.flops.unshared, 1e-6 * unshared.flops.spent);
  }
}

/// The window moves on: each set sees one step after the other, and what it drew must not stay.
TEST(PooledDenoiser, FollowsTheWindow) {
  const at::NoGradGuard guard;
  const Model model = toy_model();
  const GuidedBatch batch = toy_batch({0, 2}, {7, 8});
  const auto chosen = choose_guidances({"tpg + tsg:from=0.3"}, model);
  const auto pooled = pooled_denoiser(model, guidance_sets(chosen, model, 2), batch, true);
  const auto x = window(model);
  pooled(std::span(x).first(2), std::span(kLevels).first(2));
  const auto moved = pooled(std::span(x).last(2), std::span(kLevels).last(2));
  for (size_t i = 0; i < 2; ++i)
    EXPECT_LT(
        relative_error(moved[i].epsilon,
                       alone(model, "tpg + tsg:from=0.3", x[i + 2], kLevels[i + 2], batch).epsilon),
        1e-5);
}

TEST(PooledDenoiser, RefusesMemory) {
  const Model model = toy_model();
  const auto chosen = choose_guidances({"apg:momentum=0.5"}, model);
  try {
    pooled_denoiser(model, guidance_sets(chosen, model, 2), toy_batch({0}, {7}), true);
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_TRUE(contains(error.what(), "apg:momentum=0.5: remembers")) << error.what();
  }
}

}  // namespace
}  // namespace tiller::test
