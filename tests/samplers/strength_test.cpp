#include "io/error.h"
#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

Trajectory ten_steps(const std::string& name) {
  const Configured chosen(name, "");
  return chosen.sampler.trajectory(diffusers_schedule({"scaled_linear", 0.00085, 0.012}),
                                   with_options({10}, chosen.options));
}

TEST(Strength, KeepsTheLastSteps) {
  const auto whole = ten_steps("euler"), part = from_strength(whole, 0.6);
  ASSERT_EQ(part.steps(), 6);
  for (int i = 0; i <= 6; ++i) {
    EXPECT_EQ(part.levels[i].sigma, whole.levels[i + 4].sigma);
    EXPECT_EQ(part.levels[i].step, i);
  }
  EXPECT_EQ(from_strength(whole, 1).steps(), 10);
  EXPECT_EQ(from_strength(whole, 0.19).steps(), 1);
}

TEST(Strength, RefusesWhatLeavesNothing) {
  for (const double strength : {0.0, -0.5, 1.01, 0.05, double(NAN)})
    EXPECT_THROW(from_strength(ten_steps("ddim"), strength), UsageError) << strength;
}

TEST(Strength, NoiseIsAsTheLevelHasIt) {
  const Tensor image = toy_base(), noise = toy_base().flip(3);
  for (const std::string name : {"ddim", "heun"}) {
    const auto level = from_strength(ten_steps(name), 0.5).levels[0];
    const Tensor x = noised(image, noise, level);
    EXPECT_TRUE(at::allclose((x - level.alpha * image) / level.sigma, noise, 1e-5, 1e-5)) << name;
  }
}

/// A network that knows the image gives it back whatever the strength, if a run starts where its
/// noise is.
TEST(Strength, EverySamplerFindsTheImage) {
  const Tensor image = toy_base();
  const Denoiser oracle = [&](const Tensor& x, const NoiseLevel& level) {
    return Prediction{image, (x - level.alpha * image) / level.sigma, {}, {}};
  };
  for (const auto& sampler : samplers()) {
    if (sampler.name == "lcm") continue;    // it keeps a share of the noise
    if (sampler.name == "edict") continue;  // it asks about half-done steps at their first level
    if (sampler.name == "pndm") continue;   // as diffusers cuts it, it is told lower levels
    const Configured chosen(sampler.name, "");
    const auto trajectory = from_strength(ten_steps(sampler.name), 0.5);
    SineNoise noise;
    const Tensor start = noised(image, noise.draw(image), trajectory.levels[0]);
    const Tensor end = chosen.run(oracle, start, trajectory, noise);
    const NoiseLevel last = trajectory.levels.back();
    EXPECT_LT((end - last.alpha * image).abs().max().item<double>(), 3 * last.sigma + 1e-3)
        << sampler.name;
  }
}

}  // namespace
}  // namespace tiller::test
