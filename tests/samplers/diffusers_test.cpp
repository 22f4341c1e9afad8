#include "samplers/clip.h"
#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

BetaTable table_from(const Json& config) {
  BetaTable table;
  table.schedule = config.at("beta_schedule");
  table.start = config.value("beta_start", table.start);
  table.end = config.value("beta_end", table.end);
  table.zero_terminal_snr = config.value("rescale_betas_zero_snr", false);
  return table;
}

TrajectoryConfig trajectory_config_from(const Json& test) {
  const Json& config = test.at("config");
  TrajectoryConfig result;
  result.steps = test.at("steps");
  result.spacing = spacing_from(config.at("timestep_spacing"));
  result.steps_offset = config.at("steps_offset");
  result.set_alpha_to_one = config.value("set_alpha_to_one", true);
  result.final_sigma_zero = config.value("final_sigmas_type", "zero") == "zero";
  if (config.value("use_karras_sigmas", false)) result.sigmas = SigmaRule::karras;
  if (config.value("use_exponential_sigmas", false)) result.sigmas = SigmaRule::exponential;
  return result;
}

Denoiser denoiser_from(const Json& config) {
  const auto type = prediction_type_from(config.value("prediction_type", "epsilon"));
  const bool learned = config.value("variance_type", "") == "learned_range";
  Denoiser denoise = toy_denoiser(type, learned);
  return config.value("clip_sample", false) ? clipped(denoise, ClipMode::sample_only) : denoise;
}

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

void expect_trajectory(const Json& test) {
  const Configured chosen(test.at("sampler"), test.at("options"));
  const auto schedule = diffusers_schedule(table_from(test.at("config")));
  const auto trajectory = chosen.sampler.trajectory(
      schedule, with_options(trajectory_config_from(test), chosen.options));
  EXPECT_NEAR(trajectory.initial_scale / test.at("initial_scale").get<double>(), 1, 1e-6);

  SineNoise noise;
  Recorder recorder;
  std::vector<double> timesteps;
  const Tensor start = toy_base() * test.at("initial_scale").get<double>();
  const auto denoise = recording(denoiser_from(test.at("config")), timesteps);
  const Tensor final = chosen.run(denoise, start, trajectory, noise, recorder.observer());

  expect_timesteps(timesteps, test.at("timesteps"));
  ASSERT_EQ(recorder.samples.size(), static_cast<size_t>(trajectory.steps()));
  const Tensor &first = recorder.samples.front(), &mid = recorder.samples[trajectory.steps() / 2];
  const double tolerance = tolerance_of(test);
  EXPECT_LT(relative_error(first, tensor_from(test.at("first"))), tolerance);
  EXPECT_LT(relative_error(mid, tensor_from(test.at("mid"))), tolerance);
  EXPECT_LT(relative_error(final, tensor_from(test.at("final"))), tolerance);
  EXPECT_EQ(noise.draws, test.at("draws").get<int>());
}

TEST(Diffusers, TrajectoriesAreTheSame) {
  const Json cases = fixture("samplers.json").at("cases");
  ASSERT_GT(cases.size(), 40u);
  for (const Json& test : cases) {
    SCOPED_TRACE(test.at("sampler").get<std::string>() + ":" +
                 test.at("options").get<std::string>() + " " + test.at("config").dump());
    expect_trajectory(test);
  }
}

}  // namespace
}  // namespace tiller::test
