#include "guidance/denoiser.h"

#include "tests/guidance/toy.h"

namespace tiller::test {
namespace {

const std::vector<std::string> kTexts = {"none",
                                         "cfg",
                                         "tpg",
                                         "tpg:layers=all",
                                         "tpg:layers=d0+u0",
                                         "asag",
                                         "pag",
                                         "seg",
                                         "seg:sigma=1",
                                         "asag:layers=all",
                                         "cfg:scale=2 + tpg",
                                         "cfg:scale=2 + tpg + tpg:layers=m0",
                                         "tpg + asag + pag + seg",
                                         "cfg:scale=3 + asag + rescale",
                                         "cfg:scale=2 + cfg:scale=1.5"};

std::vector<Model> models() {
  std::vector<Model> all;
  all.push_back(toy_model());
  all.push_back(adm_model());
  return all;
}

TEST(Denoiser, SharedEqualsUnshared) {
  for (const Model& model : models())
    for (const auto& text : kTexts) {
      const Tensor x = normal({2, model.network->in_channels(), 4, 4}, 1);
      const auto batch = toy_batch({0, 2}, {7, 8});
      GuidanceCost shared, apart;
      const auto a = guided(model, text, x, batch, true, &shared);
      const auto b = guided(model, text, x, batch, false, &apart);
      EXPECT_LT(relative_error(a.epsilon, b.epsilon), 1e-5) << text;
      EXPECT_LT(relative_error(a.sample, b.sample), 1e-5) << text;
      EXPECT_NEAR(apart.flops.spent, apart.flops.unshared, 1e-9 * apart.flops.spent) << text;
      EXPECT_NEAR(shared.flops.unshared, apart.flops.unshared, 1e-9 * apart.flops.spent) << text;
      EXPECT_EQ(shared.evaluations, 1) << text;
      EXPECT_EQ(shared.branches, apart.branches) << text;
      if (text == "none" || text == "cfg") {
        EXPECT_NEAR(shared.flops.spent, apart.flops.spent, 1e-9 * apart.flops.spent) << text;
      } else {
        EXPECT_LT(shared.flops.spent, 0.99 * apart.flops.spent) << text;
      }
    }
}

TEST(Denoiser, AnImageDoesNotDependOnItsBatch) {
  for (const Model& model : models())
    for (const auto& text : kTexts) {
      const Tensor x = normal({2, model.network->in_channels(), 4, 4}, 1);
      const Tensor batch = guided(model, text, x, toy_batch({0, 2}, {7, 8})).epsilon;
      const Tensor alone = guided(model, text, x.narrow(0, 1, 1), toy_batch({2}, {8})).epsilon;
      EXPECT_LT(relative_error(batch.narrow(0, 1, 1), alone), 1e-5) << text;
    }
}

TEST(Denoiser, EveryGuidanceGuides) {
  const Model model = toy_model();
  const Tensor x = normal({1, 4, 4, 4}, 1);
  const auto batch = toy_batch({1}, {7});
  const Tensor plain = guided(model, "none", x, batch).epsilon;
  for (const std::string text : {"cfg", "tpg", "asag", "pag", "seg", "seg:sigma=1"})
    EXPECT_GT(relative_error(guided(model, text, x, batch).epsilon, plain), 1e-2) << text;
}

TEST(Denoiser, WithoutStrengthNothingIsEvaluated) {
  const Model model = toy_model();
  const Tensor x = normal({1, 4, 4, 4}, 1);
  const auto batch = toy_batch({1}, {7});
  const Tensor plain = guided(model, "none", x, batch).epsilon;
  for (const std::string text :
       {"cfg:scale=1", "tpg:scale=0", "asag:scale=0", "pag:scale=0", "seg:scale=0"}) {
    GuidanceCost cost;
    EXPECT_TRUE(guided(model, text, x, batch, true, &cost).epsilon.equal(plain)) << text;
    EXPECT_EQ(cost.branches, 1) << text;
  }
}

TEST(Denoiser, EqualBranchesCostOnce) {
  const Model model = toy_model();
  const Tensor x = normal({1, 4, 4, 4}, 1);
  const auto batch = toy_batch({1}, {7});
  GuidanceCost once, twice;
  const Tensor a = guided(model, "cfg:scale=4", x, batch, true, &once).epsilon;
  const Tensor b = guided(model, "cfg:scale=2 + cfg:scale=3", x, batch, true, &twice).epsilon;
  EXPECT_LT(relative_error(a, b), 1e-5);
  EXPECT_EQ(once.flops.spent, twice.flops.spent);
  EXPECT_EQ(twice.branches, 3);
}

TEST(Denoiser, KeepsToTheInterval) {
  const Model model = toy_model();
  const Tensor x = normal({1, 4, 4, 4}, 1);
  for (int step = 0; step < 10; ++step) {
    GuidanceCost cost;
    guided(model, "cfg:from=0.25,to=0.6 + tpg:from=0.5 + rescale:to=0.3", x, toy_batch({1}, {7}),
           true, &cost, step);
    EXPECT_EQ(cost.branches, 1 + (2 <= step && step < 6) + (5 <= step)) << step;
  }
}

TEST(Denoiser, SplitsOffTheLearnedVariance) {
  const Model plain = toy_model(), model = toy_model(true);
  const Tensor x = normal({2, 4, 4, 4}, 1);
  const auto batch = toy_batch({0, 2}, {7, 8});
  const auto none = guided(model, "none", x, batch), cfg = guided(model, "cfg", x, batch);
  EXPECT_FALSE(guided(plain, "cfg", x, batch).variance.defined());
  ASSERT_TRUE(cfg.variance.defined());
  EXPECT_EQ(cfg.variance.sizes(), x.sizes());
  EXPECT_LT(relative_error(cfg.variance, none.variance), 1e-5);  // the conditional branch's
  EXPECT_EQ(cfg.epsilon.sizes(), x.sizes());
  EXPECT_GT(relative_error(cfg.variance, cfg.epsilon), 1e-2);
}

TEST(Denoiser, ScalesTheInputAndTellsTheTimestep) {
  const Model model = toy_model();
  const Tensor x = normal({1, 4, 4, 4}, 1);
  const auto batch = toy_batch({1}, {7});
  const auto denoise = guided_denoiser(model, {}, batch, true);
  const NoiseLevel level{1, 3, 123.5, 0};
  const Branch branch{&batch.positive, nullptr};
  const Tensor output =
      evaluate(*model.network, x / std::sqrt(10.0), at::full({1}, 123.5), {&branch, 1}).outputs[0];
  EXPECT_LT(relative_error(denoise(x, level).epsilon, output), 1e-6);
  EXPECT_LT(relative_error(denoise(x, level).sample, x - 3 * output), 1e-5);
  const auto wide = denoise(x.to(at::kDouble), level);
  EXPECT_EQ(wide.sample.scalar_type(), at::kDouble);
}

/// Asks in three stages: the negative, then another input that depends on the answer, then another
/// network.
class Staged final : public Guidance {
 public:
  explicit Staged(const Network& other) : other_(other) {}
  std::vector<Request> requests(const GuidanceStep& step,
                                std::span<const Tensor> answers) override {
    const Branch branch{step.positive, nullptr};
    if (answers.empty()) return {};
    if (answers.size() == 1) return {{.branch = {step.negative, nullptr}}};
    if (answers.size() == 2) return {{.branch = branch, .input = step.x + answers[1]}};
    if (answers.size() == 3) return {{.branch = branch, .network = &other_}, {.branch = branch}};
    return {};
  }
  Tensor delta(const GuidanceStep&, std::span<const Tensor> answers) override {
    told.assign(answers.begin(), answers.end());
    return {};
  }
  std::vector<Tensor> told;

 private:
  const Network& other_;
};

TEST(Denoiser, AnswersInStages) {
  const Model model = toy_model();
  const ToyNetwork other(4, 2);
  const Tensor x = normal({1, 4, 4, 4}, 1);
  const auto batch = toy_batch({1}, {7});
  auto chosen = choose_guidances({"cfg:scale=2 + pag"}, model);
  auto owned = std::make_unique<Staged>(other);
  Staged& staged = *owned;
  chosen[1].guidance = std::move(owned);
  GuidanceCost cost;
  guided_denoiser(model, chosen, batch, true, &cost)(x, level_at(3));
  const auto alone = [&](const Network& network, const Conditioning& c, const Tensor& input) {
    const Branch branch{&c, nullptr};
    return evaluate(network, input, at::full({1}, 497.0), {&branch, 1}).outputs[0];
  };
  const Tensor negative = alone(*model.network, *batch.negative, x);
  const std::vector<Tensor> expected = {alone(*model.network, batch.positive, x), negative,
                                        alone(*model.network, batch.positive, x + negative),
                                        alone(other, batch.positive, x),
                                        alone(*model.network, batch.positive, x)};
  ASSERT_EQ(staged.told.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_LT(relative_error(staged.told[i], expected[i]), 1e-5) << i;
  EXPECT_EQ(cost.evaluations, 5);
  EXPECT_EQ(cost.branches, 6);
}

TEST(Denoiser, RefusesWhatIsMissing) {
  const Model model = toy_model();
  auto chosen = choose_guidances({"cfg"}, model);
  auto batch = toy_batch({1}, {7});
  EXPECT_THROW(guided_denoiser(model, {}, batch, true)(normal({2, 4, 4, 4}, 1), level_at(0)),
               Error);
  batch.negative.reset();
  EXPECT_THROW(guided_denoiser(model, chosen, batch, true), UsageError);
}

}  // namespace
}  // namespace tiller::test
