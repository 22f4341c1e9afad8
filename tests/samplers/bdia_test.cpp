#include "samplers/bdia.h"

#include "samplers/lattice.h"
#include "tests/samplers/reversible.h"

namespace tiller::test {
namespace {

bool all_zero(const Tensor& side) { return !side.defined() || !side.any().item<bool>(); }

struct Case {
  std::string sampler, options, schedule;
  int steps;
  PredictionType type;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const std::string sampler : {"bdia", "bdia-edm"})
    for (const std::string gamma : {"1", "0.96", "0.9375"})
      for (const std::string schedule : {"cosine", "linear"})
        for (const int steps : {1, 2, 10, 50, 200})
          for (const auto type : {PredictionType::epsilon, PredictionType::v})
            all.push_back({sampler, "gamma=" + gamma, schedule, steps, type});
  return all;
}

/// Image to noise to image, and noise to image to noise: not a bit is lost, and the first needs no
/// side digits.
TEST(Bdia, BothDirectionsUndoEachOther) {
  int64_t seed = 0;
  for (const auto& [sampler, options, schedule, steps, type] : cases()) {
    SCOPED_TRACE(sampler + ":" + options + " " + schedule + " " + std::to_string(steps));
    const Reversible r(sampler, options, guided_diffusion_schedule(schedule, 1000), steps, type);
    const Tensor z0 = to_lattice(images(++seed, {1 + seed % 3, 3, 4, 4})).to(at::kInt);

    const auto up = r.ascend(z0);
    EXPECT_EQ(up.level, 0);
    EXPECT_TRUE(all_zero(up.side));
    EXPECT_TRUE(at::equal(r.descend(up).latents, z0));

    const Tensor noise =
        to_lattice(images(seed, {2, 3, 4, 4}) * r.trajectory.initial_scale).to(at::kInt);
    const auto down = r.descend({.latents = noise});
    const auto back = r.ascend(down);
    EXPECT_TRUE(at::equal(back.latents, noise));
    EXPECT_TRUE(all_zero(back.side));
  }
}

/// Part of the way up and down again: what editing does.
TEST(Bdia, StopsAtAnyLevel) {
  const Reversible r("bdia", "gamma=0.96", guided_diffusion_schedule("linear", 1000), 20);
  const Tensor z0 = to_lattice(images(1, {2, 3, 4, 4})).to(at::kInt);
  for (const int until : {20, 19, 12, 1}) {
    const auto up = r.ascend(z0, until);
    EXPECT_EQ(up.level, until);
    EXPECT_TRUE(at::equal(r.descend(up).latents, z0)) << until;
  }
}

/// The BELM authors' BDIA on Stable Diffusion 1.5's schedule (github.com/zituitui/BELM).
TEST(Bdia, FloatsEqualTheOriginal) {
  const auto schedule = diffusers_schedule({"scaled_linear", 0.00085, 0.012});
  for (const Json& test : fixture("inversion.json").at("bdia")) {
    const std::string gamma = test.at("gamma");
    const Reversible r("bdia", "spacing=linspace,lattice=off,gamma=" + gamma, schedule, 8);
    const Tensor final = r.descend({.latents = toy_base()}).latents;
    EXPECT_LT(relative_error(final, tensor_from(test.at("final"))), 1e-5) << gamma;
  }
}

TEST(Bdia, GammaZeroIsDdim) {
  const auto schedule = diffusers_schedule({"scaled_linear", 0.00085, 0.012});
  const Reversible bdia("bdia", "gamma=0", schedule, 10), ddim("ddim", "", schedule, 10);
  SineNoise noise;
  const Tensor expected = ddim.chosen.run(ddim.denoise, toy_base(), ddim.trajectory, noise);
  EXPECT_LT(relative_error(bdia.descend({.latents = toy_base()}).latents, expected.flatten()),
            1e-6);
}

/// Rounding to the lattice moves a run by about its step.
TEST(Bdia, TheLatticeIsNearTheFloats) {
  const auto schedule = diffusers_schedule({"scaled_linear", 0.00085, 0.012});
  for (const std::string sampler : {"bdia", "bdia-edm"})
    for (const std::string gamma : {"1", "0.96"}) {
      const Reversible on(sampler, "gamma=" + gamma, schedule, 20);
      const Reversible off(sampler, "lattice=off,gamma=" + gamma, schedule, 20);
      const Tensor x = images(3, {2, 3, 4, 4}) * on.trajectory.initial_scale;
      const Tensor a = float_latents(on.descend({.latents = x}).latents);
      const Tensor b = off.descend({.latents = x.to(at::kDouble)}).latents;
      EXPECT_LT(relative_error(a, b.flatten()), 1e-3) << sampler << " " << gamma;
      EXPECT_EQ(a.scalar_type(), at::kFloat);
    }
}

/// Heun's steps alone: what BDIA adds vanishes with the step size.
TEST(Bdia, EdmFollowsTheOdeOfHeun) {
  const auto schedule = diffusers_schedule({"scaled_linear", 0.00085, 0.012});
  const Reversible exact("heun", "", schedule, 800);
  SineNoise noise;
  const Tensor x = toy_base(at::kDouble) * exact.trajectory.initial_scale;
  const Tensor expected = exact.chosen.run(exact.denoise, x, exact.trajectory, noise).flatten();
  double last = 1;
  for (const int steps : {50, 200, 800}) {
    const Reversible r("bdia-edm", "lattice=off", schedule, steps);
    const double error = relative_error(r.descend({.latents = x}).latents, expected);
    EXPECT_LT(error, last);
    last = error / 2;
  }
}

/// An observer that changes some numbers of the sample changes those, and no bit of the others.
TEST(Bdia, ObserversMayChangeLatents) {
  const Reversible r("bdia", "", guided_diffusion_schedule("linear", 1000), 6);
  const Tensor noise = to_lattice(images(5, {2, 3, 4, 4})).to(at::kInt);
  const Tensor plain = r.descend({.latents = noise}).latents;
  const Tensor second = at::tensor({0, 1}).view({2, 1, 1, 1}).to(at::kBool);
  const auto changed = r.chosen.sampler.inverse.descend(r.run([&](const StepReport& report) {
    report.sample = at::where(second, report.sample + 0.25, report.sample);
  }),
                                                        {.latents = noise});
  EXPECT_TRUE(at::equal(changed.latents[0], plain[0]));
  EXPECT_FALSE(at::equal(changed.latents[1], plain[1]));
}

TEST(Bdia, RefusesWhatHasNoInverse) {
  const auto schedule = guided_diffusion_schedule("linear", 1000);
  const Tensor x = images(1, {1, 3, 4, 4});
  EXPECT_THROW(Reversible("bdia", "gamma=0.5", schedule, 5).ascend(x), UsageError);
  EXPECT_THROW(Reversible("bdia", "gamma=0.5,lattice=on", schedule, 5).descend({.latents = x}),
               UsageError);
  EXPECT_THROW(Reversible("bdia", "gamma=0.9,steps=900", schedule, 5), UsageError);
  EXPECT_THROW(Reversible("bdia", "gamma=0.9", schedule, 900).descend({.latents = x}), UsageError);
  Reversible broken("bdia", "", schedule, 5);
  broken.denoise = [](const Tensor& z, const NoiseLevel&) {
    return Prediction{z, at::full_like(z, NAN)};
  };
  EXPECT_THROW(broken.descend({.latents = x}), Error);
  EXPECT_THROW(broken.ascend(x), Error);
}

TEST(Lattice, ProductsAreReversible) {
  for (const auto factor : {LatticeFactor{24, 25}, LatticeFactor{15, 16}, LatticeFactor{9, 10}}) {
    const Tensor w = at::arange(-1000, 1000, at::kLong) * 997;
    Tensor side = at::zeros_like(w), z = w;
    const int64_t rounds = side_capacity(factor);
    for (int64_t i = 0; i < rounds; ++i) z = multiply(z, side, factor);
    for (int64_t i = 0; i < rounds; ++i) z = divide(z, side, factor);
    EXPECT_TRUE(at::equal(z, w));
    EXPECT_FALSE(side.any().item<bool>());
    Tensor digits = at::zeros_like(w);
    const Tensor product = multiply(w, digits, factor).to(at::kDouble);
    const Tensor expected = w.to(at::kDouble) * double(factor.n) / double(factor.d);
    EXPECT_LE((product - expected).abs().max().item<double>(), double(factor.d));
    Tensor none = at::zeros_like(w);
    const Tensor quotient = divide(w, none, factor).to(at::kDouble);
    const Tensor exact = w.to(at::kDouble) * double(factor.d) / double(factor.n);
    EXPECT_LT((quotient - exact).abs().max().item<double>(), 1);
    EXPECT_FALSE(none.any().item<bool>());
  }
}

TEST(Lattice, FactorsAreTheNearest) {
  const auto is = [](double gamma, int64_t n, int64_t d) {
    const auto factor = nearest_factor(gamma);
    EXPECT_EQ(factor.n, n) << gamma;
    EXPECT_EQ(factor.d, d) << gamma;
  };
  is(1, 1, 1);
  is(0.96, 24, 25);
  is(0.9375, 15, 16);
  is(0.94, 16, 17);
  is(0.999, 999, 1000);
  is(0.9, 9, 10);
  is(0.99999, 1, 1);
}

TEST(Lattice, SumsRoundHalfToEven) {
  const double unit = 1.0 / 65536;
  const Tensor x = at::tensor({0.5, 1.5, -0.5, 2.25}, at::kDouble) * unit;
  const Tensor z = lattice_sum(x, 1, at::zeros_like(x), 1);
  EXPECT_TRUE(at::equal(z, at::tensor({0, 2, 0, 2}, at::kLong)));
  EXPECT_TRUE(at::equal(to_lattice(from_lattice(z)), z));
}

}  // namespace
}  // namespace tiller::test
