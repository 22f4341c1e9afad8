#include "samplers/clip.h"
#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

std::vector<double> told_timesteps(const Trajectory& trajectory) {
  std::vector<double> told;
  for (int i = 0; i < trajectory.steps(); ++i) told.push_back(trajectory.levels[i].timestep);
  return told;
}

void expect_guided_trajectory(const Json& test) {
  const Configured chosen(test.at("sampler"), test.at("options"));
  const auto schedule = guided_diffusion_schedule(test.at("noise_schedule"), test.at("timesteps"),
                                                  test.at("rescale_timesteps"));
  TrajectoryConfig config;
  config.respacing = test.at("respacing");
  if (config.respacing.empty()) config.respacing = std::to_string(schedule.size());
  const auto trajectory = chosen.sampler.trajectory(schedule, with_options(config, chosen.options));
  EXPECT_EQ(told_timesteps(trajectory), test.at("told").get<std::vector<double>>());

  Denoiser denoise = toy_denoiser(PredictionType::epsilon, test.at("learned"));
  if (test.at("clip")) denoise = clipped(denoise, ClipMode::recompute_epsilon);
  SineNoise noise;
  Recorder recorder;
  const Tensor final = chosen.run(denoise, toy_base(), trajectory, noise, recorder.observer());
  EXPECT_LT(relative_error(recorder.samples.front(), tensor_from(test.at("first"))), 1e-5);
  EXPECT_LT(relative_error(recorder.samples[trajectory.steps() / 2], tensor_from(test.at("mid"))),
            1e-5);
  EXPECT_LT(relative_error(final, tensor_from(test.at("final"))), 1e-5);
}

TEST(GuidedDiffusion, TrajectoriesAreTheSame) {
  const Json cases = fixture("gd_sampling.json").at("cases");
  ASSERT_EQ(cases.size(), 10u);
  for (const Json& test : cases) {
    SCOPED_TRACE(test.at("sampler").get<std::string>() + " " +
                 test.at("respacing").get<std::string>() + " " +
                 test.at("noise_schedule").get<std::string>());
    expect_guided_trajectory(test);
  }
}

}  // namespace
}  // namespace tiller::test
