#include "samplers/clip.h"

#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

const NoiseLevel kLevel{0.6, 0.8, 500, 0};

TEST(Clip, SampleOnlyKeepsEpsilon) {
  const auto plain = toy_denoiser(PredictionType::epsilon);
  const Tensor x = toy_base();
  const auto before = plain(x, kLevel), after = clipped(plain, ClipMode::sample_only)(x, kLevel);
  EXPECT_GT(before.sample.tensor().abs().max().item<float>(), 1);
  EXPECT_TRUE(after.sample.tensor().equal(before.sample.tensor().clamp(-1, 1)));
  EXPECT_TRUE(after.epsilon.tensor().equal(before.epsilon));
}

TEST(Clip, RecomputedEpsilonLeadsToTheClippedSample) {
  const Tensor x = toy_base();
  const auto p =
      clipped(toy_denoiser(PredictionType::epsilon), ClipMode::recompute_epsilon, 0.5)(x, kLevel);
  EXPECT_LE(p.sample.tensor().abs().max().item<float>(), 0.5);
  EXPECT_TRUE(at::allclose(0.6 * p.sample + 0.8 * p.epsilon, x, 1e-6, 1e-6));
}

/// The quantile, between 1 and the largest value allowed, is each image's own.
TEST(Clip, ThresholdsAreEachImagesOwn) {
  const Tensor samples = at::cat({toy_base(), 4 * toy_base()});  // quantiles 1.75 and 7
  const Denoiser fixed = [&](const Tensor&, const NoiseLevel&) {
    return Prediction{samples, samples};
  };
  const Tensor got = thresholded(fixed, {1.0, 5.0})(samples, kLevel).sample;
  EXPECT_TRUE(at::allclose(got[0], samples[0] / 1.75));
  EXPECT_TRUE(at::allclose(got[1], samples[1].clamp(-5, 5) / 5));
  const Tensor small = thresholded(fixed, {0.0, 5.0})(samples, kLevel).sample;
  EXPECT_TRUE(at::allclose(small[0], samples[0].clamp(-1, 1)));
}

/// A triangle wave of period 4 through the identity on [-1, 1].
TEST(Clip, ReflectionFoldsBack) {
  const Tensor x = at::tensor({-3.5, -3.0, -1.2, -1.0, 0.3, 1.0, 1.2, 2.5, 3.0, 5.25}, at::kDouble);
  const Tensor folded =
      at::tensor({0.5, 1.0, -0.8, -1.0, 0.3, 1.0, 0.8, -0.5, -1.0, 0.75}, at::kDouble);
  EXPECT_TRUE(at::allclose(reflect(x, 1), folded, 0, 1e-12)) << reflect(x, 1);
  EXPECT_TRUE(at::allclose(reflect(0.6 * x, 0.6), 0.6 * folded, 0, 1e-12));
  const auto plain = toy_denoiser(PredictionType::epsilon);
  const Prediction p = reflected(plain, 0.5)(toy_base(), kLevel);
  EXPECT_LE(p.sample.tensor().abs().max().item<float>(), 0.5);
  EXPECT_TRUE(p.epsilon.tensor().equal(plain(toy_base(), kLevel).epsilon));
}

TEST(Clip, OptionsChooseTheLimit) {
  const auto plain = toy_denoiser(PredictionType::epsilon);
  const Tensor x = toy_base();
  const auto limit = [&](const std::string& text) -> Tensor {
    return limited(plain, Configured("ddim", text).options)(x, kLevel).sample;
  };
  EXPECT_TRUE(limit("").equal(plain(x, kLevel).sample));
  EXPECT_LE(limit("clip_sample=true,clip_sample_range=0.5").abs().max().item<float>(), 0.5);
  EXPECT_TRUE(limit("reflect_sample=true,clip_sample_range=0.5")
                  .equal(reflect(plain(x, kLevel).sample, 0.5)));
  EXPECT_TRUE(limit("clip_sample=true,thresholding=true").equal(limit("thresholding=true")));
}

}  // namespace
}  // namespace tiller::test
