#include "samplers/lattice.h"
#include "tests/samplers/reversible.h"
#include "tests/samplers/text_toy.h"

namespace tiller::test {
namespace {

NoiseSchedule toy_schedule() { return diffusers_schedule({"scaled_linear", 0.00085, 0.012}); }

/// A case of the fixture and how its sampler is asked for it.
struct NoiseMapCase {
  std::string name, sampler, options;
  int steps, until;
  PredictionType type = PredictionType::epsilon;
  int kept = 0;  ///< Steps whose noise the original keeps; fewer than the run's: 0 in the last.
};

const std::vector<NoiseMapCase>& noise_map_cases() {
  static const std::string ddim = "offset=1,set_alpha_to_one=false";
  static const std::vector<NoiseMapCase> all = {
      {"ddpm", "ddpm-inversion", ddim, 8, 0, PredictionType::epsilon, 7},
      {"ddpm_v", "ddpm-inversion", ddim, 8, 0, PredictionType::v, 7},
      {"ddpm_eta", "ddpm-inversion", ddim + ",eta=0.6", 8, 3, PredictionType::epsilon, 5},
      {"ledits", "ledits++", "offset=1", 20, 3, PredictionType::epsilon, 16},
      {"ledits_short", "ledits++", "offset=1", 10, 0, PredictionType::epsilon, 9}};
  return all;
}

/// The standard deviation of a step's noise, from the paper's closed forms.
double step_noise(const NoiseMapCase& c, const Trajectory& trajectory, int level) {
  const NoiseLevel &from = trajectory.levels[level], &to = trajectory.levels[level + 1];
  const double ratio = from.alpha * to.sigma / (to.alpha * from.sigma);
  if (c.sampler == "ledits++") return to.sigma * std::sqrt(1 - ratio * ratio);
  const double eta = c.name == "ddpm_eta" ? 0.6 : 1;
  const double shrink = from.alpha / to.alpha;
  return eta * to.sigma / from.sigma * std::sqrt(1 - shrink * shrink);
}

/// The toy with the fixture's prompts.
TextToy prompted(const Tensor& x, PredictionType type, bool target) {
  TextToy toy = text_toy(x);
  toy.type = type;
  toy.scale = target ? 15 : 3.5;
  if (target) toy.positive = at::arange(x.numel(), x.options()).sin().view_as(toy.positive);
  return toy;
}

/// Latents, noise maps, the way back and an edit from a level between, under guidance.
TEST(NoiseMaps, EqualTheOriginals) {
  const Json json = fixture("noise_maps.json");
  for (const NoiseMapCase& c : noise_map_cases()) {
    SCOPED_TRACE(c.name);
    const Json& expected = json.at(c.name);
    Reversible r(c.sampler, c.options, toy_schedule(), c.steps, c.type);
    r.first_seed = 11;
    const Tensor x = toy_base();
    prompted(x, c.type, false).attach(r);
    InversionState noise = r.ascend(x, c.until);
    const Tensor latents = tensor_from(expected.at("latents")).view({-1, 8}),
                 maps = tensor_from(expected.at("maps")).view({-1, 8});
    EXPECT_LT(relative_error(float_latents(noise.latents), latents[0]), 1e-5);
    for (int k = 0; k < c.kept; ++k) {
      const Tensor map = step_noise(c, r.trajectory, c.until + k) * maps[k];
      const Tensor missed = from_lattice(noise.record[k]).flatten() - map;
      EXPECT_LT(missed.abs().max().item<double>(), 3e-5) << k;  // two units of the lattice
    }
    if (c.kept < noise.record.size(0)) noise.record[-1].zero_();
    EXPECT_LT(relative_error(float_latents(r.descend(noise).latents),
                             tensor_from(expected.at("again")).flatten()),
              1e-4);
    const int from = c.name.starts_with("ddpm") ? 3 : c.until;
    if (c.until < from) {
      noise = r.ascend(x, from);
      noise.record[-1].zero_();
    }
    prompted(x, c.type, true).attach(r);
    EXPECT_LT(relative_error(float_latents(r.descend(noise).latents),
                             tensor_from(expected.at("edit")).flatten()),
              1e-4);
  }
}

/// A level's noise is the same wherever a run ends, and another with another seed.
TEST(NoiseMaps, NoiseIsTheSeeds) {
  const Tensor x = images(5, {2, 3, 4, 4});
  for (const std::string name : {"ddpm-inversion", "ledits++"}) {
    SCOPED_TRACE(name);
    Reversible r(name, "", toy_schedule(), 10);
    const InversionState whole = r.ascend(x), part = r.ascend(x, 4);
    EXPECT_EQ(whole.record.sizes(), at::IntArrayRef({10, 2, 3, 4, 4}));
    EXPECT_EQ(part.record.size(0), 6);
    // Beyond the first step, which remembers none before.
    EXPECT_TRUE(at::equal(part.record.narrow(0, 1, 5), whole.record.narrow(0, 5, 5)));
    EXPECT_FALSE(at::equal(whole.latents[0], whole.latents[1]));
    r.first_seed = 1;
    const InversionState other = r.ascend(x);
    EXPECT_FALSE(at::equal(other.latents[0], whole.latents[0]));
    const double std = float_latents(other.latents).std().item<double>();
    EXPECT_NEAR(std, 1, 0.25);
  }
}

/// Without noise maps they are what they generate as, whose noise they draw.
TEST(NoiseMaps, GenerateAsTheStochasticSamplers) {
  const std::vector<std::pair<std::string, std::string>> pairs = {{"ddpm-inversion", "ddim"},
                                                                  {"ledits++", "dpm++2m-sde"}};
  for (const auto& [name, like] : pairs) {
    SCOPED_TRACE(name);
    const Reversible r(name, "", toy_schedule(), 20);
    const Configured plain(like, like == "ddim" ? "eta=1" : "");
    const std::vector<uint64_t> seeds = {0, 1};
    SeededNoise a(seeds), b(seeds);
    const Tensor x = initial_noise(a, {2, 3, 4, 4});
    initial_noise(b, {2, 3, 4, 4});
    const Tensor expected = plain.run(r.denoise, x, r.trajectory, a);
    EXPECT_TRUE(at::equal(r.chosen.run(r.denoise, x, r.trajectory, b), expected));
    const Tensor drawn = float_latents(r.descend({.latents = x}).latents);
    EXPECT_LT(relative_error(drawn, expected.flatten().to(at::kDouble)), 1e-3);
  }
  const Trajectory own = Reversible("ledits++", "", toy_schedule(), 20).trajectory;
  EXPECT_EQ(own.levels.front().timestep, 940) << "leading, not linspace's 999";
}

/// Runs that begin at pure noise (zero terminal SNR), or all but that.
TEST(NoiseMaps, ComeBackFromPureNoise) {
  BetaTable zero{"scaled_linear", 0.00085, 0.012};
  zero.zero_terminal_snr = true;
  const Tensor x = from_lattice(to_lattice(images(2, {2, 3, 4, 4}))).to(at::kFloat);
  for (const std::string name : {"ddpm-inversion", "ledits++"}) {
    const Reversible r(name, "spacing=trailing", diffusers_schedule(zero), 8, PredictionType::v);
    EXPECT_LT(r.trajectory.levels.front().alpha, 1e-3) << name;
    EXPECT_TRUE(at::equal(float_latents(r.descend(r.ascend(x)).latents), x)) << name;
  }
}

TEST(NoiseMaps, RefuseWhatHasNoNoiseOrOtherShapes) {
  const Tensor x = images(1, {1, 3, 4, 4});
  for (const std::string name : {"ddpm-inversion", "ledits++"}) {
    SCOPED_TRACE(name);
    EXPECT_THROW(Reversible(name, "eta=0", toy_schedule(), 5).ascend(x), UsageError);
    const Reversible r(name, "", toy_schedule(), 5);
    InversionState noise = r.ascend(x);
    for (const Tensor& wrong :
         {noise.record[0], noise.record.narrow(4, 0, 2), noise.record.to(at::kFloat)}) {
      noise.record = wrong;
      EXPECT_THROW(r.descend(noise), Error);
    }
    EXPECT_THROW(r.ascend(at::full_like(x, 1e6)), Error);
  }
  EXPECT_THROW(
      Reversible("ddpm-inversion", "strict=true,spacing=linspace", toy_schedule(), 5).ascend(x),
      UsageError);
}

}  // namespace
}  // namespace tiller::test
