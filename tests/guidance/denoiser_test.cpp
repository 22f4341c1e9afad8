#include "guidance/denoiser.h"

#include "tests/guidance/toy.h"

namespace tiller::test {
namespace {

/// What a test asks of every network: a guidance, and whether its branches share layers.
struct Case {
  std::string text;
  bool shares = true;
  int evaluations = 1;
};

const std::vector<Case> kCases = {{"none", false},
                                  {"cfg", false},
                                  {"tpg"},
                                  {"tpg:layers=all"},
                                  {"tpg:layers=d0+u0"},
                                  {"asag"},
                                  {"pag"},
                                  {"seg"},
                                  {"seg:sigma=1"},
                                  {"asag:layers=all"},
                                  {"slg"},
                                  {"slg:layers=all"},
                                  {"slg:layers=d0+u0"},
                                  {"slg:layers=u0"},
                                  {"ssg"},
                                  {"ssg:layers=m0+u0,ratio=0.5"},
                                  {"cfg:scale=2 + tpg"},
                                  {"cfg:scale=2 + tpg + tpg:layers=m0"},
                                  {"tpg + asag + pag + seg + slg + ssg"},
                                  {"slg:layers=mid + slg:layers=all"},
                                  {"cfg:scale=3 + asag + rescale"},
                                  {"apg + pag + rescale"},
                                  {"cfg:scale=2 + cfg:scale=1.5"},
                                  {"apg", false},
                                  {"cfg-zero", false},
                                  {"tcfg", false},
                                  {"fdg", false},
                                  {"dynthresh", false},
                                  {"mambo", false},
                                  {"tag-cfg", false},
                                  {"tag", false},
                                  {"smc-cfg", false},
                                  {"smc-cfg:form=norm", false},
                                  {"cfg:scale=2 + pag + tag:scale=1.5 + rescale"},
                                  {"cfg++", false},
                                  {"icg", false},
                                  {"tsg", false},
                                  {"tsg + pag + cfg"},
                                  {"sag", true, 2},
                                  {"cfg + sag + pag", true, 2},
                                  {"swg:masked=false", false, 5},
                                  {"cfg + swg:scale=1", false, 5},
                                  {"sag + swg + slg", true, 6}};

const std::vector<Case> kTextCases = {
    {"nag", false},           {"nag + cfg:scale=3"},  {"cfg + nag + slg + tpg"},
    {"nag + pag:layers=all"}, {"nag + sag", true, 2}, {"perp-neg"},
    {"perp-neg + nag + icg"}, {"pladis", false},      {"cfg + pladis + pag"},
    {"nag + pladis + cfg"},   {"freeu", false},       {"cfg + freeu:version=2 + slg + pladis"}};

/// A network, the guidances to try on it, and images.
struct Bench {
  Model model;
  std::vector<Case> cases;
  GuidedBatch both, second;  ///< Two images, and the second of them alone.

  Tensor noise() const { return normal({2, model.network->in_channels(), 8, 8}, 1); }
};

std::vector<Bench> benches() {
  std::vector<Bench> all;
  all.push_back({toy_model(), kCases, toy_batch({0, 2}, {7, 8}), toy_batch({2}, {8})});
  all.push_back({adm_model(), kCases, toy_batch({0, 2}, {7, 8}), toy_batch({2}, {8})});
  all.push_back({text_model(), kCases, text_batch({7, 8}), text_batch({8})});
  all.push_back({text_model(), kTextCases, text_batch({7, 8}), text_batch({8})});
  return all;
}

TEST(Denoiser, SharedEqualsUnshared) {
  const at::NoGradGuard guard;
  for (const Bench& bench : benches())
    for (const auto& [text, shares, evaluations] : bench.cases) {
      SCOPED_TRACE(bench.model.kind + " " + text);
      GuidanceCost shared, apart;
      const auto a = guided(bench.model, text, bench.noise(), bench.both, true, &shared);
      const auto b = guided(bench.model, text, bench.noise(), bench.both, false, &apart);
      EXPECT_LT(relative_error(a.epsilon, b.epsilon), 1e-5);
      EXPECT_LT(relative_error(a.sample, b.sample), 1e-5);
      if (contains(text, "pag"))
        EXPECT_LT(apart.flops.spent, (1 - 1e-6) * apart.flops.unshared);
      else
        EXPECT_NEAR(apart.flops.spent, apart.flops.unshared, 1e-9 * apart.flops.spent);
      EXPECT_NEAR(shared.flops.unshared, apart.flops.unshared, 1e-9 * apart.flops.spent);
      EXPECT_EQ(shared.evaluations, evaluations);
      EXPECT_EQ(shared.branches, apart.branches);
      if (shares)
        EXPECT_LT(shared.flops.spent, 0.99 * apart.flops.spent);
      else if (bench.model.kind == "adm")
        EXPECT_NEAR(shared.flops.spent, apart.flops.spent, 1e-9 * apart.flops.spent);
      else
        EXPECT_LE(shared.flops.spent, apart.flops.spent);
    }
}

TEST(Denoiser, AnImageDoesNotDependOnItsBatch) {
  const at::NoGradGuard guard;
  for (const Bench& bench : benches())
    for (const auto& [text, shares, evaluations] : bench.cases) {
      const Tensor both = guided(bench.model, text, bench.noise(), bench.both).epsilon;
      const Tensor alone =
          guided(bench.model, text, bench.noise().narrow(0, 1, 1), bench.second).epsilon;
      EXPECT_LT(relative_error(both.narrow(0, 1, 1), alone), 2e-5)
          << bench.model.kind << " " << text;
    }
}

TEST(Denoiser, EveryGuidanceGuides) {
  const Model model = toy_model();
  const Tensor x = normal({1, 4, 8, 8}, 1);
  const auto batch = toy_batch({1}, {5});
  const Tensor plain = guided(model, "none", x, batch).epsilon;
  for (const std::string text :
       {"cfg", "tpg",      "asag",  "pag",     "seg",       "seg:sigma=1", "slg", "ssg",
        "apg", "cfg-zero", "tcfg",  "fdg",     "dynthresh", "cfg++",       "icg", "tsg",
        "sag", "swg",      "mambo", "tag-cfg", "tag",       "smc-cfg"})
    EXPECT_GT(relative_error(guided(model, text, x, batch).epsilon, plain), 1e-2) << text;
  const Model reader = text_model();
  const Tensor unguided = guided(reader, "none", x, text_batch({7})).epsilon;
  for (const std::string text : {"nag", "perp-neg", "icg", "pladis", "freeu"})
    EXPECT_GT(relative_error(guided(reader, text, x, text_batch({7})).epsilon, unguided), 1e-2)
        << text;
}

/// As in diffusers, where SAG reads the negative prompt while classifier-free guidance is on.
TEST(Denoiser, SagReadsTheNegativeBesideClassifierFreeGuidanceAlone) {
  const Model model = text_model();
  const Tensor x = normal({1, 4, 8, 8}, 1);
  const auto with = [&](const std::string& text) {
    return guided(model, text, x, text_batch({7})).epsilon;
  };
  for (const std::string idle : {"cfg:scale=1", "apg:scale=1", "cfg-zero:scale=1", "nag:scale=1"})
    EXPECT_LT(relative_error(with(idle + " + sag"), with("sag")), 1e-5) << idle;
  const Tensor both = with("cfg:scale=3 + sag") - with("cfg:scale=3");
  EXPECT_GT(relative_error(both, with("sag") - with("none")), 1e-3);
}

TEST(Denoiser, WithoutStrengthNothingIsEvaluated) {
  const Model model = toy_model();
  const Tensor x = normal({1, 4, 4, 4}, 1);
  const auto batch = toy_batch({1}, {7});
  const Tensor plain = guided(model, "none", x, batch).epsilon;
  for (const std::string text : {"cfg:scale=1",
                                 "tpg:scale=0",
                                 "asag:scale=0",
                                 "pag:scale=0",
                                 "seg:scale=0",
                                 "slg:scale=0",
                                 "ssg:scale=0",
                                 "apg:scale=1",
                                 "cfg-zero:scale=1",
                                 "tcfg:scale=1",
                                 "fdg:scales=1+1",
                                 "icg:scale=1",
                                 "tsg:scale=1",
                                 "sag:scale=0",
                                 "swg:scale=0",
                                 "mambo:scale=1",
                                 "tag-cfg:scale=1,tangent=0",
                                 "tag:scale=1",
                                 "momentum:alpha=0",
                                 "smc-cfg:scale=1,k=0"}) {
    GuidanceCost cost;
    EXPECT_TRUE(guided(model, text, x, batch, true, &cost).epsilon.tensor().equal(plain)) << text;
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

TEST(Denoiser, KeepsToTheIntervalOfSigmas) {
  const Model model = toy_model();
  const Tensor x = normal({1, 4, 4, 4}, 1);
  auto chosen = choose_guidances({"cfg:sigma_from=5,sigma_to=1,from=0.2"}, model);
  GuidanceCost cost;
  const auto denoise = guided_denoiser(model, chosen, toy_batch({1}, {7}), true, &cost);
  const auto guides = [&](const NoiseLevel& level) {
    const int64_t before = cost.branches;
    denoise(x, level);
    return cost.branches - before == 2;
  };
  EXPECT_FALSE(guides({1, 4, 500, 1}));
  EXPECT_FALSE(guides({1, 5.1, 500, 2}));
  EXPECT_TRUE(guides({1, 5, 500, 3}));
  EXPECT_TRUE(guides({0.5, 2, 500, 4}));  // sigma in units of alpha
  EXPECT_TRUE(guides({1, 0.5, 500, 4}));  // a corrector goes with its step
  EXPECT_FALSE(guides({1, 1, 500, 5}));
}

/// A skipped block returns what enters it: without any, the network is what lies between.
TEST(Denoiser, SkippingSharesUpToTheNextBlockThatRuns) {
  const at::NoGradGuard guard;
  const Model model = text_model();
  const Tensor x = normal({1, 4, 8, 8}, 1);
  const auto spent = [&](const std::string& text) {
    GuidanceCost cost;
    guided(model, text, x, text_batch({7}), true, &cost);
    return cost.flops.spent;
  };
  EXPECT_LT(spent("slg:layers=u0"), spent("pag:layers=u0"));
  EXPECT_LT(spent("slg:layers=m0"), spent("pag:layers=m0"));
}

TEST(Denoiser, PlusPlusNoisesWithTheNegative) {
  const Model model = toy_model();
  const Tensor x = normal({1, 4, 4, 4}, 1);
  auto batch = toy_batch({1}, {7});
  const Prediction plus = guided(model, "cfg++:scale=1", x, batch);
  EXPECT_LT(relative_error(plus.epsilon, guided(model, "none", x, batch).epsilon), 1e-6);
  EXPECT_FALSE(guided(model, "cfg", x, batch).renoise.defined());
  batch.positive = *batch.negative;
  EXPECT_LT(relative_error(plus.renoise, guided(model, "none", x, batch).epsilon), 1e-5);
}

/// Beside CFG, NAG replaces the conditional prediction: D_u + s (D_nag - D_u).
TEST(Denoiser, NormalizedAttentionIsTheConditionalBranch) {
  const at::NoGradGuard guard;
  const Model model = text_model();
  const Tensor x = normal({1, 4, 8, 8}, 1);
  auto batch = text_batch({7});
  const Tensor nag = guided(model, "nag", x, batch).epsilon;
  const Tensor both = guided(model, "nag + cfg:scale=3", x, batch).epsilon;
  EXPECT_TRUE(guided(model, "nag:scale=1", x, batch)
                  .epsilon.tensor()
                  .equal(guided(model, "none", x, batch).epsilon));
  batch.positive = *batch.negative;
  const Tensor negative = guided(model, "none", x, batch).epsilon;
  EXPECT_LT(relative_error(both, negative + 3 * (nag - negative)), 1e-5);
}

TEST(Denoiser, SelfAttentionGuidanceReadsTheNegativeBesideCfg) {
  const Model model = toy_model();
  const Tensor x = normal({1, 4, 8, 8}, 1);
  const auto batch = toy_batch({1}, {7});
  auto negative = batch;
  negative.positive = *batch.negative;
  const auto made = [&](const std::string& text, const GuidedBatch& of) {
    return guided(model, text, x, of).epsilon;
  };
  const Tensor added = made("cfg + sag", batch) - made("cfg", batch);
  EXPECT_LT(relative_error(added, made("sag", negative) - made("none", negative)), 1e-4);
  GuidanceCost cost;
  guided(model, "cfg + sag", x, batch, true, &cost);
  EXPECT_EQ(cost.branches, 4);
  EXPECT_EQ(cost.evaluations, 2);
}

TEST(Denoiser, WindowsCoverTheImage) {
  const Model model = toy_model();
  const Tensor x = normal({1, 4, 8, 12}, 1);
  const auto batch = toy_batch({1}, {7});
  const Tensor plain = guided(model, "none", x, batch).epsilon;
  const Tensor masked = guided(model, "swg:scale=1", x, batch).epsilon - plain;
  const Tensor all = guided(model, "swg:scale=1,masked=false", x, batch).epsilon - plain;
  const Tensor overlap = at::zeros({8, 12});  // windows of 6 and 8 begin at 0 and 2, 0 and 4
  overlap.narrow(0, 2, 4).fill_(1);
  overlap.narrow(1, 4, 4).fill_(1);
  EXPECT_LT(relative_error(masked, all * overlap), 1e-5);
  EXPECT_GT(largest(all * (1 - overlap)), 1e-2);
  EXPECT_THROW(guided(model, "swg:window=0.5", x, batch), UsageError);
}

/// Channels that the network reads beside x are cropped with it.
TEST(Denoiser, WindowsOfAnInpaintingModel) {
  const at::NoGradGuard guard;
  const Model model = text_model(5);
  auto batch = text_batch({7});
  batch.positive.channels = batch.negative->channels = normal({1, 1, 8, 8}, 3);
  const Tensor x = normal({1, 4, 8, 8}, 1);
  const Tensor plain = guided(model, "nag", x, batch).epsilon;
  EXPECT_GT(relative_error(guided(model, "nag + swg:scale=1", x, batch).epsilon, plain), 1e-2);
  EXPECT_GT(relative_error(guided(model, "nag + sag:scale=1", x, batch).epsilon, plain), 1e-2);
}

/// Of a model that edits images: prompts, and latents of the image beside x but in one branch.
GuidedBatch editing_batch(std::vector<uint64_t> seeds) {
  const auto images = int64_t(seeds.size());
  GuidedBatch batch = text_batch(std::move(seeds));
  const Tensor image = normal({images, 4, 8, 8}, 3);
  batch.positive.channels = batch.negative->channels = image;
  batch.without_image = batch.negative;
  batch.without_image->channels = at::zeros_like(image);
  return batch;
}

TEST(Denoiser, AnEditedImageHasAScaleOfItsOwn) {
  const at::NoGradGuard guard;
  const Model model = text_model(8);
  const auto batch = editing_batch({7, 8});
  const Tensor x = normal({2, 4, 8, 8}, 1);
  const auto alone = [&](const Conditioning& conditioning) -> Tensor {
    GuidedBatch one = text_batch({7, 8});
    one.positive = conditioning;
    return guided(model, "none", x, one).epsilon;
  };
  const Tensor text = alone(batch.positive), image = alone(*batch.negative),
               nothing = alone(*batch.without_image);
  const auto formula = [&](double scale, double image_scale) {
    return nothing + scale * (text - image) + image_scale * (image - nothing);
  };
  const auto got = [&](const std::string& guidance, bool share = true) -> Tensor {
    return guided(model, guidance, x, batch, share).epsilon;
  };
  EXPECT_GT(relative_error(formula(5, 2), formula(5, 1)), 1e-2);
  EXPECT_LT(relative_error(got("cfg:scale=5,image_scale=2"), formula(5, 2)), 1e-5);
  EXPECT_LT(relative_error(got("cfg:scale=5,image_scale=2", false), formula(5, 2)), 1e-5);
  EXPECT_LT(relative_error(got("cfg:scale=5"), formula(5, 1.5)), 1e-5);
  EXPECT_LT(relative_error(got("cfg:scale=5,image_scale=1"), formula(5, 1)), 1e-5);
  EXPECT_LT(relative_error(got("cfg:scale=1,image_scale=2"), text), 1e-5) << "as in diffusers";
  EXPECT_LT(relative_error(got("apg:form=diffusers,space=raw,eta=1,momentum=0,scale=5,"
                               "norm_threshold=1e9"),
                           formula(5, 1)),
            1e-5)
      << "other forms of cfg steer by the text alone";
  EXPECT_LT(relative_error(got("cfg:scale=5,image_scale=2 + pag:scale=3"),
                           formula(5, 2) + got("pag:scale=3") - text),
            1e-5);
}

/// Text and image part at the first cross-attention, the third branch at the start.
TEST(Denoiser, BranchesOfAnEditShareWhatTheyRead) {
  const at::NoGradGuard guard;
  const Model model = text_model(8);
  const auto batch = editing_batch({7});
  const Tensor x = normal({1, 4, 8, 8}, 1);
  const auto cost_of = [&](const std::string& guidance) {
    GuidanceCost cost;
    guided(model, guidance, x, batch, true, &cost);
    return cost;
  };
  const GuidanceCost two = cost_of("cfg:image_scale=1"), three = cost_of("cfg:image_scale=2");
  EXPECT_EQ(two.branches, 2);
  EXPECT_EQ(three.branches, 3);
  EXPECT_EQ(three.evaluations, 1);
  EXPECT_LT(two.flops.spent, two.flops.unshared);
  const double saved = two.flops.unshared - two.flops.spent;
  EXPECT_NEAR(three.flops.unshared - three.flops.spent, saved, 0.01 * saved);
  EXPECT_EQ(cost_of("cfg:scale=1,image_scale=2").branches, 1);
}

TEST(Denoiser, AnEditWithoutTheThirdBranchIsRefused) {
  const Model model = text_model(8);
  auto batch = editing_batch({7});
  batch.without_image.reset();
  EXPECT_THROW(guided(model, "cfg", normal({1, 4, 8, 8}, 1), batch), UsageError);
}

TEST(Denoiser, AutoguidanceAsksTheOtherModel) {
  const Model model = toy_model();
  const ModelLoader load = [](const fs::path&) {
    Model worse = toy_model();
    worse.network = std::make_unique<ToyNetwork>(4, 2);
    return worse;
  };
  const Tensor x = normal({1, 4, 4, 4}, 1);
  const auto batch = toy_batch({1}, {7});
  auto chosen = choose_guidances({"autoguidance:model=worse,scale=3"}, model, load);
  GuidanceCost cost;
  const Tensor got = guided_denoiser(model, chosen, batch, true, &cost)(x, level_at(3)).epsilon;
  const Tensor good = guided(model, "none", x, batch).epsilon;
  const Tensor bad = guided(load(""), "none", x, batch).epsilon;
  EXPECT_LT(relative_error(got, bad + 3 * (good - bad)), 1e-5);
  EXPECT_EQ(cost.evaluations, 2);
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
  EXPECT_EQ(cfg.epsilon.tensor().sizes(), x.sizes());
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
  EXPECT_EQ(wide.sample.tensor().scalar_type(), at::kDouble);
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
  Combination delta(const GuidanceStep&, std::span<const Tensor> answers) override {
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
