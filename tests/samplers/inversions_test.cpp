#include "samplers/lattice.h"
#include "tests/samplers/reversible.h"
#include "tests/samplers/text_toy.h"

namespace tiller::test {
namespace {

NoiseSchedule sd_schedule() { return diffusers_schedule({"scaled_linear", 0.00085, 0.012}); }

/// Stable Diffusion 1.5's levels: leading, from timestep 1 on.
const std::string leading = "offset=1";

Tensor golden(const Json& json) { return tensor_from(json); }

bool needs_text(const std::string& name) { return name == "npi" || name == "null-text"; }

TEST(Inversions, DdimEqualsDiffusers) {
  const Json json = fixture("inversion.json");
  for (const auto type : {PredictionType::epsilon, PredictionType::v}) {
    const Reversible r("ddim", leading + ",set_alpha_to_one=false", sd_schedule(), 8, type);
    const Json& expected = json.at(type == PredictionType::v ? "ddim_v" : "ddim");
    const Tensor noise = r.ascend(toy_base(at::kDouble)).latents;
    EXPECT_LT(relative_error(noise, golden(expected.at("final"))), 1e-5);
  }
}

/// Generation from noise, the inverse from the image, and both latents of each.
TEST(Inversions, CoupledPairsEqualTheirEquations) {
  const Json json = fixture("inversion.json");
  for (const std::string name : {"edict", "rex"}) {
    const Reversible r(name, leading, sd_schedule(), 8);
    const Tensor x = toy_base(at::kDouble);
    const Json& expected = json.at(name);
    EXPECT_LT(relative_error(r.descend({.latents = x}).latents, golden(expected.at("generate"))),
              1e-6);
    const auto noise = r.ascend(x);
    EXPECT_LT(relative_error(noise.latents, golden(expected.at("invert"))), 1e-5);
    EXPECT_LT(relative_error(noise.partner, golden(expected.at("partner"))), 1e-5);
  }
}

/// The BELM authors' code, which asks the network about the image at timestep 1. In float32 their
/// inverse multiplies what it rounds; in float64 the same equations give these to 3e-4.
TEST(Inversions, OBelmEqualsTheOriginal) {
  const Json json = fixture("inversion.json").at("o_belm");
  Reversible r("o-belm", "spacing=linspace", sd_schedule(), 8);
  const Denoiser toy = toy_denoiser(PredictionType::epsilon);
  r.denoise = [=](const Tensor& x, NoiseLevel level) {
    if (level.step == 8) level.timestep = 1;
    return toy(x, level);
  };
  const Tensor x = toy_base(at::kDouble);
  EXPECT_LT(relative_error(r.descend({.latents = x}).latents, golden(json.at("generate"))), 1e-5);
  const auto noise = r.ascend(x);
  EXPECT_LT(relative_error(noise.latents, golden(json.at("invert"))), 3e-4);
  EXPECT_LT(relative_error(noise.partner, golden(json.at("partner"))), 1e-4);
}

TEST(Inversions, FixedPointsEqualTheirEquations) {
  const Json json = fixture("inversion.json");
  const auto noise_of = [](const std::string& name, const std::string& options) {
    return Reversible(name, leading + options, sd_schedule(), 8)
        .ascend(toy_base(at::kDouble))
        .latents;
  };
  const Json& fixed = json.at("fixed_point");
  EXPECT_LT(relative_error(noise_of("fpi", ""), golden(fixed.at("none"))), 1e-5);
  EXPECT_LT(relative_error(noise_of("aidi", ",acceleration=average"), golden(fixed.at("average"))),
            1e-5);
  EXPECT_LT(relative_error(noise_of("renoise", ",regularize=0"), golden(json.at("renoise"))), 1e-5);
}

TEST(Inversions, ReNoiseRegularizesEpsilon) {
  const Json json = fixture("inversion.json").at("renoise_regularized");
  const Tensor image = golden(json.at("image")).view({1, 2, 16, 8});
  const auto noise_of = [&](const std::string& options) {
    return Reversible("renoise", leading + options, sd_schedule(), 8).ascend(image).latents;
  };
  const Tensor expected = golden(json.at("noise"));
  EXPECT_LT(relative_error(noise_of(""), expected), 1e-4);
  EXPECT_GT(relative_error(noise_of(",regularize=0"), expected), 0.01);
}

TEST(Inversions, NullTextEqualsAdam) {
  const Json json = fixture("inversion.json").at("null_text");
  Reversible r("null-text", leading + ",threshold=0", sd_schedule(), 8);
  const Tensor x = toy_base(at::kDouble);
  text_toy(x, 0).attach(r);
  const auto noise = r.ascend(x);
  EXPECT_LT(relative_error(noise.latents, golden(json.at("noise"))), 1e-5);
  EXPECT_LT(relative_error(noise.record, golden(json.at("record")).flatten()), 1e-4);
  EXPECT_LT(relative_error(r.descend(noise).latents, golden(json.at("final"))), 1e-4);
}

/// With the prompt in the negative's place nothing is left of guidance.
TEST(Inversions, NpiIsDdimWithoutGuidance) {
  Reversible npi("npi", leading, sd_schedule(), 8), ddim("ddim", leading, sd_schedule(), 8);
  const Tensor x = images(3, {2, 3, 4, 4});
  text_toy(x).attach(npi);
  ddim.denoise = npi.steering.conditional;
  const auto noise = npi.ascend(x), expected = ddim.ascend(x);
  EXPECT_LT(relative_error(noise.latents, expected.latents.flatten().to(at::kDouble)), 1e-6);
  EXPECT_LT(relative_error(npi.descend(noise).latents,
                           ddim.descend(expected).latents.flatten().to(at::kDouble)),
            1e-6);
}

/// How far off the way back may be, in units of the largest latent: the largest errors measured on
/// the toy network over both predictions, doubled.
struct Bound {
  double ten, fifty;
};

/// The options that the tests below run a method with. The toy's epsilon is no noise: what makes
/// it more like some leads away.
std::string options_of(const std::string& name) {
  if (name == "exact-dpm++") return "tolerance=1e-6";
  return name == "renoise" ? "regularize=0" : "";
}

const std::map<std::string, Bound>& bounds() {
  static const std::map<std::string, Bound> all = {{"ddim", {1.8, 0.35}},
                                                   {"bdia", {0, 0}},
                                                   {"bdia-edm", {0, 0}},
                                                   {"edict", {5e-13, 4e-14}},
                                                   {"o-belm", {2e-15, 5e-15}},
                                                   {"rex", {2e-12, 2e-11}},
                                                   {"exact-dpm++", {0.02, 2.2e-3}},
                                                   {"aidi", {1.1e-4, 3e-6}},
                                                   {"fpi", {1.5e-6, 4.5e-6}},
                                                   {"renoise", {0.1, 0.02}},
                                                   {"npi", {1.8, 0.35}},
                                                   {"null-text", {0.8, 0.15}},
                                                   {"direct", {0, 0}},
                                                   {"ddpm-inversion", {0, 0}},
                                                   {"ledits++", {0, 0}}};
  return all;
}

/// Image to noise to image, on the very registry: a method without a bound fails.
TEST(Inversions, EveryOneComesBackAsNearAsDocumented) {
  for (const auto& sampler : samplers()) {
    if (!sampler.inverse.ascend) continue;
    ASSERT_TRUE(bounds().contains(sampler.name)) << sampler.name;
    for (const auto type : {PredictionType::epsilon, PredictionType::v})
      for (const int steps : {10, 50}) {
        SCOPED_TRACE(sampler.name + " " + std::to_string(steps));
        Reversible r(sampler.name, options_of(sampler.name),
                     guided_diffusion_schedule("linear", 1000), steps, type);
        Tensor x = images(3, {2, 3, 4, 4});
        TextToy toy = text_toy(x);
        toy.type = type;
        if (needs_text(sampler.name) || sampler.name == "direct") toy.attach(r);
        if (sampler.inverse.exact) x = from_lattice(to_lattice(x)).to(at::kFloat);
        const auto noise = r.ascend(x);
        EXPECT_EQ(noise.level, 0);
        const auto back = r.descend(noise);
        EXPECT_EQ(back.level, steps);
        const double error =
            relative_error(float_latents(back.latents), x.flatten().to(at::kDouble));
        const Bound& bound = bounds().at(sampler.name);
        EXPECT_LE(error, steps == 10 ? bound.ten : bound.fifty);
        if (!sampler.inverse.exact) continue;
        EXPECT_TRUE(at::equal(back.latents, to_lattice(x).to(back.latents.scalar_type())));
      }
  }
}

/// A network in float32, whose answers both directions must multiply alike.
TEST(Inversions, PairsComeBackFromNetworksInFloat) {
  for (const std::string name : {"edict", "o-belm", "rex", "rex:solver=heun"}) {
    SCOPED_TRACE(name);
    const auto colon = name.find(':');
    Reversible r(name.substr(0, colon), colon == name.npos ? "" : name.substr(colon + 1),
                 guided_diffusion_schedule("linear", 1000), 50);
    r.denoise = [toy = toy_denoiser(PredictionType::epsilon)](const Tensor& x,
                                                              const NoiseLevel& level) {
      Prediction p = toy(x.to(at::kFloat), level);
      return Prediction{.sample = (x - level.sigma * p.epsilon) / level.alpha,
                        .epsilon = p.epsilon};
    };
    const Tensor x = images(3, {2, 3, 4, 4});
    const double error =
        relative_error(float_latents(r.descend(r.ascend(x)).latents), x.flatten().to(at::kDouble));
    EXPECT_LT(error, 1e-11);
  }
}

/// Part of the way up and down, as editing does, and rows apart from each other.
TEST(Inversions, StopAtAnyLevelAndKeepImagesApart) {
  for (const auto& sampler : samplers()) {
    if (!sampler.inverse.ascend) continue;
    SCOPED_TRACE(sampler.name);
    Reversible r(sampler.name, options_of(sampler.name), guided_diffusion_schedule("linear", 1000),
                 10);
    const Tensor x = images(5, {2, 3, 4, 4});
    const bool steered = needs_text(sampler.name) || sampler.name == "direct";
    const TextToy toy = text_toy(x);
    for (const int until : {10, 9, 4}) {
      if (steered) toy.attach(r);
      const auto both = r.ascend(x, until);
      EXPECT_EQ(both.level, until);
      const auto error =
          relative_error(float_latents(r.descend(both).latents), x.flatten().to(at::kDouble));
      EXPECT_LE(error, std::max(1e-4, bounds().at(sampler.name).ten)) << until;
      TextToy alone = toy;
      alone.positive = toy.positive.narrow(0, 1, 1);
      alone.negative = toy.negative.narrow(0, 1, 1);
      if (steered) alone.attach(r);
      r.first_seed = 1;
      const auto one = r.ascend(x.narrow(0, 1, 1), until);
      r.first_seed = 0;
      EXPECT_TRUE(
          at::allclose(float_latents(one.latents)[0], float_latents(both.latents)[1], 1e-4, 1e-4));
    }
  }
}

/// Evaluations of ten steps up and ten down.
TEST(Inversions, EvaluationsAreAsDocumented) {
  const std::vector<std::tuple<std::string, std::string, int, int>> cases = {
      {"ddim", "", 10, 10},
      {"edict", "", 20, 20},
      {"o-belm", "", 10, 9},
      {"rex", "", 20, 20},
      {"rex", "solver=midpoint", 40, 40},
      {"rex", "solver=rk4", 80, 80},
      {"aidi", "", 50, 10},
      {"fpi", "iterations=7", 70, 10},
      {"renoise", "iterations=3,average_from=2,early=0", 50, 10},
      {"renoise", "iterations=3,average_from=2,early=0,regularize=0", 40, 10},
      {"npi", "", 10, 10},
      {"null-text", "iterations=2,threshold=0", 10 + 20 + 9, 10},
      {"direct", "", 20, 10},
      {"ddpm-inversion", "", 10, 10},
      {"ledits++", "", 10, 10},
      {"exact-dpm++", "order=1,iterations=4,sweeps=1,tolerance=0", 50, 10}};
  for (const auto& [name, options, up, down] : cases) {
    SCOPED_TRACE(name + ":" + options);
    Reversible r(name, options, guided_diffusion_schedule("linear", 1000), 10);
    const Tensor x = images(5, {2, 3, 4, 4});
    if (needs_text(name) || name == "direct") text_toy(x).attach(r);
    const auto noise = r.ascend(x);
    EXPECT_EQ(r.evaluations, up);
    r.evaluations = 0;
    r.descend(noise);
    EXPECT_EQ(r.evaluations, down);
  }
}

/// More iterations lead nearer to the step's true inverse, and acceleration nearer still.
TEST(Inversions, IterationsHelp) {
  const auto error = [](const std::string& name, const std::string& options) {
    const Reversible r(name, options, guided_diffusion_schedule("linear", 1000), 10);
    const Tensor x = images(3, {2, 3, 4, 4}).to(at::kDouble);
    return relative_error(r.descend(r.ascend(x)).latents, x.flatten());
  };
  EXPECT_DOUBLE_EQ(error("fpi", "iterations=1"), error("ddim", ""));
  EXPECT_LT(error("fpi", "iterations=3"), error("fpi", "iterations=1") / 2);
  EXPECT_LT(error("fpi", "iterations=5"), error("fpi", "iterations=3") / 2);
  EXPECT_LT(error("aidi", "iterations=5"), error("fpi", "iterations=5") / 2);
  EXPECT_LT(error("exact-dpm++", "tolerance=1e-6,sweeps=4"),
            error("exact-dpm++", "tolerance=1e-6,sweeps=1") / 2);
}

/// What inverts DPM-Solver++(2M) generates as it does.
TEST(Inversions, ExactDpmGeneratesAsDpm2m) {
  for (const int steps : {8, 20}) {
    const Reversible r("exact-dpm++", "", sd_schedule(), steps);
    const Configured plain("dpm++2m", "");
    SineNoise noise;
    const Tensor x = toy_base();
    const Tensor expected = plain.run(r.denoise, x, r.trajectory, noise);
    EXPECT_TRUE(at::equal(r.descend({.latents = x}).latents, expected));
    EXPECT_TRUE(at::equal(r.chosen.run(r.denoise, x, r.trajectory, noise), expected));
  }
}

/// Pairs lead back to the noise as well, in float64.
TEST(Inversions, PairsLeadBackToTheNoise) {
  const std::vector<std::pair<std::string, std::string>> pairs = {{"edict", ""},
                                                                  {"o-belm", ""},
                                                                  {"rex", ""},
                                                                  {"rex", "solver=midpoint"},
                                                                  {"rex", "solver=heun"},
                                                                  {"rex", "solver=rk4,zeta=1"}};
  for (const auto& [name, options] : pairs)
    for (const auto type : {PredictionType::epsilon, PredictionType::v}) {
      const Reversible r(name, options, guided_diffusion_schedule("linear", 1000), 10, type);
      const Tensor noise = images(4, {2, 3, 4, 4}).to(at::kDouble);
      EXPECT_LT(relative_error(r.ascend(r.descend({.latents = noise})).latents, noise.flatten()),
                1e-9)
          << name << ":" << options;
    }
}

/// Generation with a record is the image's own; without, it is DDIM's.
TEST(Inversions, WithoutARecordTheyGenerateAsDdim) {
  for (const std::string name : {"npi", "null-text", "direct"}) {
    Reversible r(name, "", sd_schedule(), 10);
    const Tensor x = images(3, {2, 3, 4, 4});
    text_toy(x).attach(r);
    const Configured ddim("ddim", "");
    SineNoise noise;
    const Tensor expected = ddim.run(r.denoise, x, r.trajectory, noise);
    const Tensor drawn = float_latents(r.descend({.latents = x}).latents);
    EXPECT_LT(relative_error(drawn, expected.flatten().to(at::kDouble)), 1e-3) << name;
    EXPECT_TRUE(at::equal(r.chosen.run(r.denoise, x, r.trajectory, noise), expected)) << name;
  }
}

TEST(Inversions, RefuseWhatTheyCanNotInvert) {
  const auto schedule = guided_diffusion_schedule("linear", 1000);
  const Tensor x = images(1, {1, 3, 4, 4});
  EXPECT_THROW(Reversible("ddim", "eta=0.5", schedule, 5).ascend(x), UsageError);
  for (const std::string name : {"npi", "null-text"}) {
    Reversible r(name, "", schedule, 5);
    r.steering.conditional = r.denoise;
    EXPECT_THROW(r.ascend(x), UsageError) << name;
  }
  Reversible unguided("null-text", "", schedule, 5);
  TextToy toy = text_toy(x);
  toy.attach(unguided);
  unguided.steering.with_negative = [&](const Tensor&) { return unguided.steering.conditional; };
  EXPECT_THROW(unguided.ascend(x), UsageError);
  BetaTable zero{"scaled_linear", 0.00085, 0.012};
  zero.zero_terminal_snr = true;
  for (const std::string name : {"edict", "o-belm", "rex"})
    EXPECT_THROW(Reversible(name, "spacing=trailing", diffusers_schedule(zero), 5).ascend(x),
                 UsageError)
        << name;
  EXPECT_THROW(Reversible("o-belm", "set_alpha_to_one=false", schedule, 5).ascend(x), UsageError);
}

}  // namespace
}  // namespace tiller::test
