/// What stands in for classifier-free guidance, from answers that are given.
#include <cmath>

#include "tests/guidance/toy.h"

namespace tiller::test {
namespace {

Tensor wave_index() { return at::arange(512, at::kDouble).reshape({2, 4, 8, 8}); }
Tensor conditional() { return (0.7 * wave_index() + 0.1).sin().to(at::kFloat); }
Tensor unconditional() {
  const Tensor i = wave_index();
  return (0.6 * (0.53 * i + 1.3).sin() + 0.4 * (0.11 * i).cos()).to(at::kFloat);
}
Tensor other() {
  const Tensor i = wave_index();
  return (0.9 * (0.7 * i + 0.25).sin() + 0.05 * (1.9 * i).cos()).to(at::kFloat);
}

struct Exchange {
  GuidanceStep step;
  Conditioning positive, negative, empty;
  Tensor c = conditional(), u = unconditional(), n = unconditional();

  explicit Exchange(int at_step = 3, int steps = 10) {
    step.context = {at_step, steps, {1, 2}, 8, 8, at::kCPU};
    step.level = {0.8, 0.6, 500, at_step};
    step.prediction = PredictionType::sample;
    step.x = (1.4 * (0.29 * wave_index() + 0.4).cos()).to(at::kFloat);
    step.positive = &positive;
    step.negative = &negative;
    step.empty = &empty;
  }

  /// D_c + delta of one guidance.
  Tensor with(Guidance& guidance) {
    std::vector<Tensor> told = {c};
    for (const Request& request : guidance.requests(step, {}))
      told.push_back(request.branch.conditioning == step.negative ? n : u);
    const Tensor delta = guidance.delta(step, told);
    return delta.defined() ? c + delta : c;
  }
};

Tensor guided_by(const std::string& text, Exchange exchange = Exchange()) {
  const Model model = text_model();
  auto chosen = choose_guidances({text}, model);
  return exchange.with(*chosen[0].guidance);
}

Tensor sampled(const Tensor& x) { return x.flatten().slice(0, 0, x.numel(), 23); }

TEST(Forms, EqualDiffusersAndTheFormulas) {
  std::vector<Json> cases;
  for (const std::string file : {"guidance.json", "guidance_rules.json"}) {
    const Json forms = fixture(file)["forms"];
    cases.insert(cases.end(), forms.begin(), forms.end());
  }
  EXPECT_GE(cases.size(), 25u);
  for (const Json& c : cases) {
    const std::string text = c["guidance"];
    Exchange exchange;
    if (text.starts_with("perp-neg")) exchange.n = other();
    EXPECT_LT(largest(sampled(guided_by(text, exchange)) - tensor_from(c["prediction"])), 2e-5)
        << text;
  }
}

TEST(Forms, TangentialAmplifyingEqualsItsAlgorithm) {
  const Model model = text_model();
  const Json cases = fixture("guidance_rules.json")["tangential"];
  EXPECT_EQ(cases.size(), 2u);
  for (const Json& c : cases) {
    Exchange exchange;
    auto chosen = choose_guidances({"tag:scale=" + c["scale"].dump()}, model);
    const Tensor got = chosen[0].guidance->finish(exchange.step, exchange.c, exchange.c);
    EXPECT_LT(largest(sampled(got) - tensor_from(c["prediction"])), 1e-6) << c["scale"];
  }
}

/// What TAG makes of an estimate of x_0 doesn't depend on what the network predicts.
TEST(Forms, TangentialAmplifyingIsTheSameForEveryPredictionType) {
  const Model model = text_model();
  auto chosen = choose_guidances({"tag:scale=1.4"}, model);
  const NoiseLevel level{0.8, 0.6, 500, 3};
  for (const auto type : {PredictionType::epsilon, PredictionType::v, PredictionType::flow,
                          PredictionType::rectified_flow, PredictionType::edm}) {
    Exchange exchange;
    exchange.step.prediction = type;
    exchange.step.level = level;
    const auto as_sample = [&](const Tensor& output) -> Tensor {
      return to_prediction(output, exchange.step.x, level, type).sample;
    };
    const Tensor raw = unconditional();
    const Tensor along = (as_sample(raw) * exchange.step.x).sum({1, 2, 3}, true) /
                         exchange.step.x.square().sum({1, 2, 3}, true) * exchange.step.x;
    EXPECT_LT(relative_error(as_sample(chosen[0].guidance->finish(exchange.step, raw, raw)),
                             along + 1.4 * (as_sample(raw) - along)),
              1e-5);
  }
}

TEST(Forms, RunsRememberAndForget) {
  const Model model = text_model();
  const Json runs = fixture("guidance_rules.json")["runs"];
  EXPECT_EQ(runs.size(), 5u);
  for (const Json& run : runs) {
    const std::string text = run["guidance"];
    auto chosen = choose_guidances({text}, model);
    Guidance& guidance = *chosen[0].guidance;
    EXPECT_TRUE(guidance.remembers()) << text;
    for (int again = 0; again < 2; ++again) {
      guidance.begin_run();
      for (int step = 0; step < 3; ++step) {
        Exchange exchange(step);
        exchange.c = (1 + 0.1 * step) * conditional();
        const Tensor got = guidance.finish(exchange.step, exchange.with(guidance), exchange.c);
        EXPECT_LT(largest(sampled(got) - tensor_from(run["predictions"][size_t(step)])), 1e-5)
            << text << again << step;
      }
    }
  }
}

TEST(Forms, ProjectedRemembersAndForgets) {
  const Model model = text_model();
  auto chosen =
      choose_guidances({"apg:form=diffusers,norm_threshold=4,momentum=-0.5,space=raw"}, model);
  const Json expected = fixture("guidance.json")["projected_run"];
  for (int run = 0; run < 2; ++run) {
    chosen[0].guidance->begin_run();
    for (int step = 0; step < 3; ++step) {
      Exchange exchange(step);
      exchange.c = (1 + 0.1 * step) * conditional();
      const Tensor got = sampled(exchange.with(*chosen[0].guidance));
      EXPECT_LT(largest(got - tensor_from(expected[step])), 1e-5) << run << step;
    }
  }
}

/// What a rule makes of estimates of x_0 doesn't depend on what the network predicts.
TEST(Forms, TheSampleSpaceIsTheSameForEveryPredictionType) {
  for (const std::string name :
       {"apg:momentum=0", "cfg-zero:space=sample", "tcfg:space=sample", "mambo:space=sample",
        "tag-cfg", "tag-cfg:adaptive=true", "smc-cfg:space=sample", "dynthresh",
        "apg:eta=0.5,norm_threshold=1,momentum=0"})
    for (const auto type :
         {PredictionType::epsilon, PredictionType::v, PredictionType::sample, PredictionType::flow,
          PredictionType::rectified_flow, PredictionType::edm})
      for (const NoiseLevel& level : {NoiseLevel{0.8, 0.6, 500, 3}, NoiseLevel{1, 3.5, 500, 3}}) {
        Exchange raw, sample;
        raw.step.prediction = type;
        raw.step.level = sample.step.level = level;
        raw.step.x = sample.step.x = normal({2, 4, 8, 8}, 4);
        const auto as_sample = [&](const Tensor& output) {
          return to_prediction(output, raw.step.x, level, type).sample;
        };
        sample.c = as_sample(raw.c);
        sample.u = sample.n = as_sample(raw.u);
        EXPECT_LT(relative_error(as_sample(guided_by(name, raw)), guided_by(name, sample)), 1e-5)
            << name;
      }
}

TEST(Forms, SpecialCasesAreClassifierFree) {
  for (const std::string text :
       {"apg:eta=1,norm_threshold=0,momentum=0,scale=4", "fdg:scales=4+4", "fdg:scales=4+4+4",
        "apg:form=diffusers,eta=1,norm_threshold=0,momentum=0,scale=4", "fdg:scales=4",
        "dynthresh:scale=4,mimic=4", "dynthresh:scale=4,phi=0", "cfg++:scale=0.4",
        "mambo:scale=4,alpha=0", "tag-cfg:scale=4,tangent=0", "smc-cfg:scale=4,k=0"}) {
    const double scale = text.starts_with("cfg++") ? 0.4 : 4;
    const Tensor expected = unconditional() + scale * (conditional() - unconditional());
    EXPECT_LT(relative_error(guided_by(text), expected), 1e-5) << text;
  }
}

/// dynthres_core.py: about zero a quantile of the guided values becomes the largest of the others,
/// at equal scales too.
TEST(Forms, DynamicThresholdingAboutZeroScalesByAQuantile) {
  const Tensor guided = unconditional() + 4 * (conditional() - unconditional());
  const Tensor spread = (guided - guided.mean({2, 3}, true)).abs().flatten(2);
  const Tensor ratio =
      (spread.amax(-1) / at::quantile(spread, 0.5, -1)).unsqueeze(-1).unsqueeze(-1);
  EXPECT_LT(relative_error(guided_by("dynthresh:start=zero,quantile=0.5,scale=4,mimic=4"),
                           guided * ratio),
            1e-5);
}

TEST(Forms, AnImageDoesNotDependOnItsBatch) {
  for (const std::string text :
       {"apg", "cfg-zero", "tcfg", "fdg:parallel=0.5", "mambo", "tag-cfg:adaptive=true",
        "dynthresh:separate=false", "dynthresh", "perp-neg"}) {
    Exchange alone;
    for (Tensor* x : {&alone.c, &alone.u, &alone.n, &alone.step.x}) *x = x->narrow(0, 1, 1);
    EXPECT_LT(relative_error(guided_by(text).narrow(0, 1, 1), guided_by(text, alone)), 1e-6)
        << text;
  }
}

TEST(Forms, FrequenciesOfAnySize) {
  for (const auto& [height, width] : {std::pair(13, 19), std::pair(12, 9), std::pair(8, 21)}) {
    Exchange exchange;
    exchange.c = normal({1, 4, height, width}, 1);
    exchange.u = exchange.n = normal({1, 4, height, width}, 2);
    const Tensor got = guided_by("fdg:scales=3+3+3", exchange);
    ASSERT_EQ(got.sizes(), exchange.c.sizes());
    EXPECT_LT(relative_error(got, exchange.u + 3 * (exchange.c - exchange.u)), 1e-5);
  }
  Exchange small;
  small.c = small.u = small.n = normal({1, 4, 6, 6}, 1);
  EXPECT_THROW(guided_by("fdg:scales=3+2+1", small), UsageError);
}

TEST(Forms, PerpendicularNegativesLeaveThePromptAlone) {
  Exchange exchange;
  exchange.n = exchange.u + 2.5 * (exchange.c - exchange.u);  // all of it along the prompt
  const Tensor expected = exchange.u + 7.5 * (exchange.c - exchange.u);
  EXPECT_LT(relative_error(guided_by("perp-neg", exchange), expected), 1e-5);
}

/// arXiv 2406.08070, proposition 2: one DDIM step equals one of CFG at l sigma / (sigma - sigma'),
/// for sigma in units of alpha.
TEST(Forms, PlusPlusIsACourseOfScales) {
  const Model model = text_model();
  const NoiseLevel from{std::sqrt(0.4), std::sqrt(0.6), 500, 3};
  const double alpha = std::sqrt(0.55), sigma = std::sqrt(0.45);
  Exchange exchange;
  exchange.step.prediction = PredictionType::epsilon;
  const Tensor x = 1.5 * (0.2 * wave_index()).sin().to(at::kFloat);
  const auto step = [&](const Tensor& guided, const Tensor& noise) {
    const Tensor sample = to_prediction(guided, x, from, PredictionType::epsilon).sample;
    return alpha * sample + sigma * noise;
  };
  auto chosen = choose_guidances({"cfg++"}, model);
  const std::vector<Tensor> answers = {exchange.c, exchange.u};
  const Tensor noise = chosen[0].guidance->renoise(exchange.step, answers);
  EXPECT_TRUE(noise.equal(exchange.u));
  const double ratio = from.sigma / from.alpha, scale = 0.6 * ratio / (ratio - sigma / alpha);
  EXPECT_NEAR(scale, 2.2949, 1e-4);
  const Tensor plain = exchange.u + scale * (exchange.c - exchange.u);
  EXPECT_LT(relative_error(step(exchange.with(*chosen[0].guidance), noise), step(plain, plain)),
            1e-5);
}

}  // namespace
}  // namespace tiller::test
