#include "samplers/clip.h"
#include "samplers/scheduler_config.h"
#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

/// Each network evaluation's timestep, in order.
Denoiser recording(Denoiser denoise, std::vector<double>& timesteps) {
  return [denoise = std::move(denoise), &timesteps](const Tensor& x, const NoiseLevel& level) {
    timesteps.push_back(level.timestep);
    return denoise(x, level);
  };
}

void expect_timesteps(const std::vector<double>& got, const Json& expected) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(got[i], expected[i].get<double>(), 2e-3) << "evaluation " << i;
}

/// At sigma = 4096 the reference's own x + (sigma' - sigma) d rounds: float64 too is 1.2e-5 from
/// it.
double tolerance_of(const Json& test) {
  const bool cancels = test.at("initial_scale").get<double>() > 1000;
  return cancels ? 2e-5 : 1e-5;
}

void expect_states(const std::vector<Tensor>& states, const Json& test) {
  const double tolerance = tolerance_of(test);
  EXPECT_LT(relative_error(states.front(), tensor_from(test.at("first"))), tolerance);
  EXPECT_LT(relative_error(states[states.size() / 2], tensor_from(test.at("mid"))), tolerance);
  EXPECT_LT(relative_error(states.back(), tensor_from(test.at("final"))), tolerance);
}

/// Text to image, or image to image where the strength is below 1.
void expect_trajectory(const Json& test) {
  const auto setup = read_scheduler_config(test.at("config"));
  const Sampler& sampler = find_sampler(test.at("sampler"));
  const auto options =
      parse_options("sampler", test.at("options"), configured_options(setup, sampler));
  auto trajectory = sampler.trajectory(configured_schedule(setup, sampler),
                                       with_options({test.at("steps")}, options));
  EXPECT_NEAR(trajectory.initial_scale / test.at("initial_scale").get<double>(), 1, 1e-6);

  SineNoise noise;
  const double strength = test.at("strength");
  trajectory = sampler.from_strength(std::move(trajectory), strength, options);
  const Tensor start = strength < 1
                           ? noised(0.4 * toy_base(), noise.draw(toy_base()), trajectory.levels[0])
                           : toy_base() * trajectory.initial_scale;
  const bool learned = test.at("config").value("variance_type", "") == "learned_range";
  std::vector<double> timesteps;
  const auto denoise =
      limited(recording(toy_denoiser(setup.prediction, learned), timesteps), options);
  Recorder recorder;
  sampler.run(denoise, start, trajectory, options, noise, recorder.observer());

  expect_timesteps(timesteps, test.at("timesteps"));
  ASSERT_EQ(recorder.samples.size(), static_cast<size_t>(trajectory.steps()));
  expect_states(recorder.samples, test);
  EXPECT_EQ(noise.draws, test.at("draws").get<int>());
}

TEST(Diffusers, TrajectoriesAreTheSame) {
  const Json cases = fixture("samplers.json").at("cases");
  ASSERT_GT(cases.size(), 140u);
  for (const Json& test : cases) {
    SCOPED_TRACE(test.at("sampler").get<std::string>() + ":" +
                 test.at("options").get<std::string>() + " " + test.at("config").dump() + " " +
                 test.at("strength").dump());
    expect_trajectory(test);
  }
}

}  // namespace
}  // namespace tiller::test
