#include "samplers/clip.h"

#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

const NoiseLevel kLevel{0.6, 0.8, 500, 0};

TEST(Clip, SampleOnlyKeepsEpsilon) {
  const auto plain = toy_denoiser(PredictionType::epsilon);
  const Tensor x = toy_base();
  const auto before = plain(x, kLevel), after = clipped(plain, ClipMode::sample_only)(x, kLevel);
  EXPECT_GT(before.sample.abs().max().item<float>(), 1);
  EXPECT_TRUE(after.sample.equal(before.sample.clamp(-1, 1)));
  EXPECT_TRUE(after.epsilon.equal(before.epsilon));
}

TEST(Clip, RecomputedEpsilonLeadsToTheClippedSample) {
  const Tensor x = toy_base();
  const auto p =
      clipped(toy_denoiser(PredictionType::epsilon), ClipMode::recompute_epsilon, 0.5)(x, kLevel);
  EXPECT_LE(p.sample.abs().max().item<float>(), 0.5);
  EXPECT_TRUE(at::allclose(0.6 * p.sample + 0.8 * p.epsilon, x, 1e-6, 1e-6));
}

}  // namespace
}  // namespace tiller::test
