#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

/// Steps through Karras' sigmas, or of a flow through 1, ..., 1 / N.
Trajectory comfyui_trajectory(const Json& all, const Configured& chosen, bool flow) {
  const int steps = all.at("steps");
  if (flow) {
    TrajectoryConfig config;
    config.steps = steps;
    config.spacing = Spacing::trailing;
    return chosen.sampler.trajectory(flow_schedule(PredictionType::flow), config);
  }
  auto sigmas = karras_sigmas(steps, all.at("sigma_min"), all.at("sigma_max"));
  sigmas.push_back(0);
  return custom_trajectory(sigmas, [](double sigma) { return 250 * std::log(sigma) + 500; });
}

TEST(ComfyUi, SamplersEndWhereItsOwnDo) {
  const Json all = fixture("comfyui.json");
  ASSERT_EQ(all.at("cases").size(), 16u);
  for (const Json& test : all.at("cases")) {
    const bool flow = test.at("flow");
    const Configured chosen(test.at("sampler"), test.at("options"));
    SCOPED_TRACE(chosen.sampler.name + ":" + test.at("options").get<std::string>());
    const auto trajectory = comfyui_trajectory(all, chosen, flow);
    SineNoise noise;
    const Tensor final =
        chosen.run(toy_denoiser(flow ? PredictionType::flow : PredictionType::epsilon),
                   toy_base() * trajectory.initial_scale, trajectory, noise);
    EXPECT_LT(relative_error(final, tensor_from(test.at("final"))), 1e-5);
  }
}

}  // namespace
}  // namespace tiller::test
