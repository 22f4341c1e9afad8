#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

double toy_timestep(double sigma) { return 250 * std::log(sigma) + 500; }

/// Both references draw at every step, Tiller only where it adds noise.
int unused_draws(const std::vector<double>& sigmas, const Options& options) {
  if (!options.has("s_tmax")) return 0;
  const double highest = options.number("s_tmax");
  return static_cast<int>(
      std::count_if(sigmas.begin(), sigmas.end(), [=](double sigma) { return sigma > highest; }));
}

TEST(KDiffusion, TrajectoriesAreThoseOfKDiffusionAndEdm) {
  const Json cases = fixture("k_diffusion.json").at("cases");
  ASSERT_EQ(cases.size(), 23u);
  for (const Json& test : cases) {
    const bool float64 = test.at("float64");
    const Configured chosen(test.at("sampler"), test.at("options"));
    SCOPED_TRACE(chosen.sampler.name + ":" + test.at("options").get<std::string>());

    auto sigmas = karras_sigmas(test.at("steps"), test.at("sigma_min"), test.at("sigma_max"));
    sigmas.push_back(0);
    const auto trajectory = custom_trajectory(sigmas, toy_timestep);
    const Tensor start = toy_base(float64 ? at::kDouble : at::kFloat) * trajectory.initial_scale;
    SineNoise noise;
    noise.draws = unused_draws(sigmas, chosen.options);
    const Tensor final =
        chosen.run(toy_denoiser(PredictionType::epsilon), start, trajectory, noise);
    EXPECT_EQ(final.scalar_type(), start.scalar_type());
    EXPECT_LT(relative_error(final, tensor_from(test.at("final"))), float64 ? 1e-10 : 1e-5);
  }
}

TEST(Heun, SecondEvaluationBelongsToItsStep) {
  std::vector<int> steps;
  const Denoiser toy = toy_denoiser(PredictionType::epsilon);
  const Denoiser denoise = [&](const Tensor& x, const NoiseLevel& level) {
    steps.push_back(level.step);
    return toy(x, level);
  };
  SineNoise noise;
  sample_heun(denoise, toy_base(), custom_trajectory({4, 2, 1, 0}, toy_timestep), {}, noise);
  EXPECT_EQ(steps, (std::vector<int>{0, 0, 1, 1, 2}));
}

}  // namespace
}  // namespace tiller::test
