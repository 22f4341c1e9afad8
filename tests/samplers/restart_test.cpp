#include "io/error.h"
#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

double toy_restart_timestep(double sigma) { return 250 * std::log(sigma) + 500; }

Trajectory karras_trajectory(int steps, double sigma_min, double sigma_max) {
  auto sigmas = karras_sigmas(steps, sigma_min, sigma_max);
  sigmas.push_back(0);
  return custom_trajectory(sigmas, toy_restart_timestep);
}

Tensor restart_run(const std::string& options, const Trajectory& trajectory, SineNoise& noise) {
  return Configured("restart", options)
      .run(toy_denoiser(PredictionType::epsilon), toy_base(at::kDouble) * trajectory.initial_scale,
           trajectory, noise);
}

/// Its restarts' sigmas are float32.
TEST(Restart, EndsWhereItsAuthorsSamplerDoes) {
  const Json all = fixture("restart.json");
  ASSERT_EQ(all.at("cases").size(), 3u);
  for (const Json& test : all.at("cases")) {
    const std::string options = test.at("options");
    const auto trajectory =
        karras_trajectory(test.at("steps"), all.at("sigma_min"), all.at("sigma_max"));
    SineNoise noise;
    EXPECT_LT(
        relative_error(restart_run(options, trajectory, noise), tensor_from(test.at("final"))),
        1e-6)
        << options;
  }
}

TEST(Restart, RestartsAboveWhereTheRunBeginsAreLeftOut) {
  const auto trajectory = karras_trajectory(6, 0.03, 1.5);
  SineNoise noise, none;
  const Tensor x = restart_run("restarts=3x2@0.1-2", trajectory, noise);
  const Tensor heun =
      sample_heun(toy_denoiser(PredictionType::epsilon),
                  toy_base(at::kDouble) * trajectory.initial_scale, trajectory, {}, none);
  EXPECT_TRUE(at::equal(x, heun));
  EXPECT_EQ(noise.draws, 0);
}

TEST(Restart, RefusesWhatIsNoRestart) {
  const auto trajectory = karras_trajectory(6, 0.03, 14);
  for (const std::string restarts :
       {"3", "3x2", "3x2@0.3", "3x2@0.3-0.1", "1x2@0.1-2", "3x0@0.1-2", "3x2@0-2", "3x2@0.1-2;",
        "3x2@0.1-2+x", "3x2@0.1-nan", "ax2@0.1-2", "2000x2@0.1-2"}) {
    SineNoise noise;
    EXPECT_THROW(restart_run("restarts=" + restarts, trajectory, noise), UsageError) << restarts;
  }
  SineNoise noise;  // the nearest of so few levels is above 0.4
  EXPECT_THROW(restart_run("restarts=3x2@0.3-0.4", karras_trajectory(2, 0.5, 14), noise),
               UsageError);
}

}  // namespace
}  // namespace tiller::test
