#include "io/error.h"
#include "samplers/clip.h"
#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

const BetaTable kSd15Betas{"scaled_linear", 0.00085, 0.012};

Trajectory trajectory_of(const Configured& chosen, int steps) {
  TrajectoryConfig config;
  config.steps = steps;
  return chosen.sampler.trajectory(diffusers_schedule(kSd15Betas),
                                   with_options(config, chosen.options));
}

Tensor run_estimated(const std::string& name, const std::string& options, int steps) {
  const Configured chosen(name, options);
  SineNoise noise;
  return chosen.run(toy_denoiser(PredictionType::epsilon), toy_base(at::kDouble),
                    trajectory_of(chosen, steps), noise);
}

TEST(GradientEstimation, SamplesAreSmalldiffusions) {
  const Json cases = fixture("gradient_estimation.json").at("samples");
  ASSERT_EQ(cases.size(), 5u);
  for (const Json& test : cases) {
    SCOPED_TRACE(test.at("options"));
    const auto trajectory = custom_trajectory(
        test.at("sigmas"), [](double sigma) { return 250 * std::log(sigma) + 500; });
    SineNoise noise;
    const Tensor got = Configured("ge", test.at("options"))
                           .run(toy_denoiser(PredictionType::epsilon),
                                toy_base() * trajectory.initial_scale, trajectory, noise);
    EXPECT_LT(relative_error(got, tensor_from(test.at("final"))), 1e-5);
  }
}

TEST(GradientEstimation, SchedulesAreGeSchedulers) {
  for (const Json& test : fixture("gradient_estimation.json").at("scheduler")) {
    SCOPED_TRACE(test.at("options"));
    const Configured chosen("ge", test.at("options"));
    const auto trajectory = trajectory_of(chosen, 8);
    const auto& timesteps = test.at("timesteps");
    ASSERT_EQ(trajectory.levels.size(), timesteps.size());
    for (size_t i = 0; i < timesteps.size(); ++i)
      EXPECT_EQ(trajectory.levels[i].timestep, timesteps[i].get<double>()) << i;
    SineNoise noise;
    const Denoiser denoise = limited(toy_denoiser(PredictionType::epsilon), chosen.options);
    const Tensor got = chosen.run(denoise, toy_base(), trajectory, noise);
    EXPECT_LT(relative_error(got, tensor_from(test.at("final"))), 1e-5);
  }
}

/// smalldiffusion's Schedule::sample_sigmas is trailing spacing that ends at the cleanest timestep.
TEST(GradientEstimation, SmalldiffusionsSigmasAreTrailing) {
  const Json expected = fixture("gradient_estimation.json").at("ldm_sigmas");
  const auto trajectory =
      trajectory_of(Configured("ge", "spacing=trailing,set_alpha_to_one=false"), 7);
  ASSERT_EQ(trajectory.levels.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const NoiseLevel& level = trajectory.levels[i];
    // Its sqrt(1 / abar - 1) is in float32, which cancels where there is little noise.
    EXPECT_NEAR(level.sigma / level.alpha / expected[i].get<double>(), 1, 5e-5);
  }
}

TEST(GradientEstimation, WithoutExtrapolationItIsDdim) {
  for (const std::string spacing : {"spacing=leading", "spacing=trailing", "spacing=linspace"})
    EXPECT_LT(relative_error(run_estimated("ge", "gamma=1," + spacing, 8),
                             run_estimated("ddim", spacing, 8).flatten()),
              1e-12);
}

TEST(GradientEstimation, WithHalfTheNoiseItIsDdpm) {
  EXPECT_LT(relative_error(run_estimated("ge", "gamma=1,mu=0.5", 8),
                           run_estimated("ddpm", "variance=fixed_small", 8).flatten()),
            1e-9);
}

TEST(GradientEstimation, EveryRuleOfSigmasDescends) {
  for (const std::string rule : {"karras", "exponential", "lu", "beta", "ays-sd15", "ays-sdxl"}) {
    const auto levels = trajectory_of(Configured("ge", "sigmas=" + rule), 10).levels;
    ASSERT_EQ(levels.size(), 11u) << rule;
    EXPECT_EQ(levels.front().timestep, 999) << rule;
    EXPECT_EQ(levels.back().timestep, 0) << rule;
    for (size_t i = 0; i < 10; ++i) EXPECT_GT(levels[i].timestep, levels[i + 1].timestep) << rule;
  }
}

TEST(GradientEstimation, RefusesMoreStepsThanTimesteps) {
  EXPECT_THROW(run_estimated("ge", "sigmas=exponential", 1000), UsageError);
}

}  // namespace
}  // namespace tiller::test
