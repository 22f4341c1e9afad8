#include "guidance/shared_answers.h"

#include "guidance/pooled_denoiser.h"
#include "tests/guidance/toy.h"
#include "tests/two_processes.h"

namespace tiller::test {
namespace {

class SomePerturbation final : public Perturbation {
 public:
  Kind kind() const override { return Kind::tokens; }
  bool acts_at(const Site&) const override { return true; }
};

/// Questions of one branch each, about one input.
struct Asked {
  Question question(const Conditioning& conditioning, const Perturbation* perturbation = nullptr) {
    return {&network, x, {{&conditioning, perturbation}}, {{}}};
  }
  ToyNetwork network;
  Tensor x = normal({1, 4, 4, 4}, 1);
  Conditioning positive{.label = at::tensor({1})}, negative{.label = at::tensor({3})};
  SomePerturbation first, second;
};

TEST(OwnersOf, KeepBranchesOfOneConditioningTogether) {
  Asked asked;
  const std::vector<Question> questions = {
      asked.question(asked.positive), asked.question(asked.negative),
      asked.question(asked.positive, &asked.first), asked.question(asked.positive, &asked.second)};
  EXPECT_EQ(owners_of(questions, 1), (std::vector{0, 0, 0, 0}));
  EXPECT_EQ(owners_of(questions, 2), (std::vector{0, 1, 0, 1}));
  EXPECT_EQ(owners_of(std::span(questions).first(3), 2), (std::vector{0, 1, 0}));
  EXPECT_EQ(owners_of(questions, 4), (std::vector{0, 3, 1, 2}));
}

TEST(OwnersOf, CountEqualBranchesOnce) {
  Asked asked;
  const std::vector<Question> questions = {asked.question(asked.positive),
                                           asked.question(asked.positive),
                                           asked.question(asked.negative)};
  EXPECT_EQ(owners_of(questions, 2), (std::vector{0, 0, 1}));
  EXPECT_EQ(owners_of(questions, 8), (std::vector{0, 0, 4}));
}

/// Two processes' predictions of a few steps, which must be each other's to the bit and one
/// process's to rounding. Returns what the first one spent; nothing without Gloo.
std::optional<GuidanceCost> expect_as_one(const Model& model, const std::string& text,
                                          const GuidedBatch& batch, int64_t side = 8) {
  SCOPED_TRACE(model.kind + " " + text);
  const auto run = [&](ProcessGroup* group, GuidanceCost& cost) {
    const at::NoGradGuard guard;
    GuidedBatch own = batch;
    own.together = group;
    auto chosen = choose_guidances({text}, model);
    const Denoiser denoise = guided_denoiser(model, chosen, own, true, &cost);
    Tensor x = normal({int64_t(batch.seeds.size()), 4, side, side}, 5);
    for (int step = 2; step < 5; ++step) x = x - 0.3 * denoise(x, level_at(step)).epsilon;
    return x;
  };
  GuidanceCost alone, shared[2];
  const Tensor expected = run(nullptr, alone);
  const auto got =
      in_two_processes([&](ProcessGroup& group) { return run(&group, shared[group.rank()]); });
  if (got.empty()) return std::nullopt;
  EXPECT_TRUE(at::equal(got[0], got[1]));
  EXPECT_LT(relative_error(got[0], expected), 1e-5);
  EXPECT_EQ(shared[0].branches + shared[1].branches, alone.branches);
  return shared[0];
}

TEST(SharedAnswers, EqualOneProcess) {
  const Model toy = toy_model(), text = text_model();
  if (!expect_as_one(toy, "cfg:scale=3", toy_batch({0, 2}, {7, 8}))) GTEST_SKIP() << "without Gloo";
  for (const std::string each :
       {"none", "cfg:scale=3 + tpg:layers=all", "cfg + sag + pag", "sag", "swg:masked=false",
        "apg:momentum=-0.5", "icg + tsg", "cfg:scale=2 + tpg + tpg:layers=m0"})
    expect_as_one(toy, each, toy_batch({0, 2}, {7, 8}));
  for (const std::string each : {"cfg + nag + slg + tpg", "nag + sag", "perp-neg"})
    expect_as_one(text, each, text_batch({7, 8}));
}

TEST(SharedAnswers, EachProcessHasAPart) {
  const auto cost = expect_as_one(toy_model(), "cfg:scale=3 + tpg", toy_batch({0}, {7}));
  if (!cost) GTEST_SKIP() << "without Gloo";
  EXPECT_EQ(cost->branches, 3 * 2);
  EXPECT_EQ(cost->evaluations, 3);
}

TEST(SharedAnswers, ProcessesThatDriftApartStop) {
  const Model model = toy_model();
  const auto said = in_two_processes([&](ProcessGroup& group) -> std::string {
    const at::NoGradGuard guard;
    GuidedBatch batch = toy_batch({0}, {7});
    batch.together = &group;
    auto chosen = choose_guidances({"cfg:scale=3"}, model);
    Tensor x = normal({1, 4, 8, 8}, 5);
    if (group.rank()) x = at::where(x == x.max(), x * (1 + 1e-7), x);
    try {
      guided_denoiser(model, chosen, batch, true)(x, level_at(3));
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  });
  if (said.empty()) GTEST_SKIP() << "without Gloo";
  for (const auto& text : said) EXPECT_NE(text.find("computes otherwise"), std::string::npos);
}

TEST(SharedAnswers, WindowsAreSharedByTheirSteps) {
  const Model model = toy_model();
  const std::vector<NoiseLevel> levels = {level_at(2), level_at(3), level_at(4)};
  for (const std::string text : {"cfg:scale=3 + tpg", "sag", "cfg:from=0.3"}) {
    const auto run = [&](ProcessGroup* group, GuidanceCost& cost) {
      const at::NoGradGuard guard;
      GuidedBatch batch = toy_batch({0, 2}, {7, 8});
      batch.together = group;
      const auto chosen = choose_guidances({text}, model);
      std::vector<Tensor> x;
      for (uint64_t i = 0; i < levels.size(); ++i) x.push_back(normal({2, 4, 8, 8}, i));
      std::vector<Tensor> epsilons;
      for (const auto& prediction :
           pooled_denoiser(model, guidance_sets(chosen, model, 3), batch, true, &cost)(x, levels))
        epsilons.push_back(prediction.epsilon);
      return at::stack(epsilons);
    };
    GuidanceCost alone, shared[2];
    const Tensor expected = run(nullptr, alone);
    const auto got =
        in_two_processes([&](ProcessGroup& group) { return run(&group, shared[group.rank()]); });
    if (got.empty()) GTEST_SKIP() << "without Gloo";
    EXPECT_TRUE(at::equal(got[0], got[1])) << text;
    EXPECT_LT(relative_error(got[0], expected), 1e-5) << text;
    EXPECT_LT(shared[1].flops.spent, 0.6 * alone.flops.spent) << text;
  }
}

TEST(SharedAnswers, RefuseACache) {
  const Model model = text_model();
  ProcessGroup group(Processes({}));
  GuidedBatch batch = text_batch({7});
  batch.together = &group;
  batch.cache = choose_cache("deepcache", *model.network);
  EXPECT_THROW(guided_denoiser(model, {}, batch, true), UsageError);
}

}  // namespace
}  // namespace tiller::test
