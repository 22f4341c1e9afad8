#include "samplers/pfgmpp.h"

#include "io/error.h"
#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

Tensor prior(int64_t images, int64_t side, int64_t augmented, double sigma, uint64_t seed = 1) {
  SeededNoise noise(image_seeds(seed, images));
  const Tensor unit = initial_noise(noise, {images, 1, side, side}).to(at::kDouble);
  return pfgmpp_prior(unit * sigma, augmented, noise);
}

/// Kolmogorov and Smirnov's distance of the radii from their law, at a hundred of its quantiles:
/// above 1.95 / sqrt(count) less than once in a thousand times.
TEST(Pfgmpp, RadiiFollowTheBetaPrimeLaw) {
  const double sigma = 80;
  const int64_t images = 2000, side = 4;
  for (const int64_t augmented : {1, 8, 128}) {
    const double r = sigma * std::sqrt(double(augmented));
    const Tensor radii = prior(images, side, augmented, sigma).flatten(1).norm(2, 1);
    for (int k = 1; k < 100; ++k) {
      const double b = beta_quantile(k / 100.0, side * side / 2.0, double(augmented) / 2);
      const Tensor below = (radii < r * std::sqrt(b / (1 - b))).to(at::kDouble);
      EXPECT_NEAR(below.mean().item<double>(), k / 100.0, 1.95 / std::sqrt(double(images)))
          << "D " << augmented;
    }
  }
}

TEST(Pfgmpp, DirectionsAreTheNoises) {
  SeededNoise noise(image_seeds(1, 3));
  const Tensor unit = initial_noise(noise, {3, 1, 4, 4}).to(at::kDouble);
  const Tensor ratio = prior(3, 4, 128, 1) / unit;
  EXPECT_LT((ratio.amax({1, 2, 3}) - ratio.amin({1, 2, 3})).abs().max().item<double>(), 1e-6);
  EXPECT_GT((ratio[0] - ratio[1]).abs().max().item<double>(), 1e-3);
}

/// The factor's standard deviation is 1 / sqrt(2 D).
TEST(Pfgmpp, ManyDimensionsAreEdm) {
  SeededNoise noise(image_seeds(1, 2));
  const Tensor unit = initial_noise(noise, {2, 1, 8, 8}).to(at::kDouble);
  for (const int64_t augmented : {2048, 1'000'000}) {
    const Tensor ratio = prior(2, 8, augmented, 1) / unit;
    EXPECT_LT((ratio - 1).abs().max().item<double>(), 4 / std::sqrt(2.0 * double(augmented)));
  }
}

Tensor run(const std::string& name, const std::string& options, bool flow = false) {
  const Configured chosen(name, options);
  TrajectoryConfig config;
  config.steps = 9;
  const auto schedule = flow ? flow_schedule(PredictionType::flow) : diffusers_schedule({});
  const auto trajectory = chosen.sampler.trajectory(schedule, with_options(config, chosen.options));
  SeededNoise noise(image_seeds(4, 2));
  const Tensor unit = initial_noise(noise, {2, 2, 2, 2}).to(at::kDouble);
  return chosen.run(toy_denoiser(flow ? PredictionType::flow : PredictionType::epsilon),
                    unit * trajectory.initial_scale, trajectory, noise);
}

TEST(Pfgmpp, SamplersBeginInThePrior) {
  for (const std::string name : {"heun", "euler"}) {
    const std::string karras = "sigmas=karras";
    const Tensor edm = run(name, karras);
    EXPECT_GT(relative_error(run(name, karras + ",pfgmpp=8"), edm.flatten()), 1e-2) << name;
    EXPECT_LT(relative_error(run(name, karras + ",pfgmpp=1000000"), edm.flatten()), 1e-2) << name;
  }
  EXPECT_THROW(run("euler", "pfgmpp=128", true), UsageError);
  EXPECT_THROW(run("euler", "pfgmpp=-1"), UsageError);
}

}  // namespace
}  // namespace tiller::test
