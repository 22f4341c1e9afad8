#include "samplers/registry.h"

#include <regex>
#include <set>

#include "io/error.h"
#include "samplers/defaults.h"
#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

TEST(Registry, EntriesAreComplete) {
  std::set<std::string> names;
  for (const auto& sampler : samplers()) {
    EXPECT_TRUE(names.insert(sampler.name).second) << sampler.name;
    EXPECT_FALSE(sampler.description.empty()) << sampler.name;
    EXPECT_TRUE(std::regex_match(sampler.paper, std::regex("[0-9]{4}\\.[0-9]{5}"))) << sampler.name;
    std::set<std::string> options;
    for (const auto& option : sampler.options) EXPECT_TRUE(options.insert(option.name).second);
  }
  for (const std::string name : {"ddim",
                                 "ddpm",
                                 "euler",
                                 "euler-a",
                                 "heun",
                                 "dpm++2m",
                                 "dpm++2m-karras",
                                 "unipc",
                                 "pndm",
                                 "lms",
                                 "lcm",
                                 "tcd",
                                 "dpm++sde",
                                 "dpm++2m-sde",
                                 "dpm++3m-sde",
                                 "dpm2",
                                 "dpm2-a",
                                 "dpm++2s-a",
                                 "deis",
                                 "ipndm",
                                 "ipndm-v",
                                 "dpm++2s",
                                 "dpm++3s",
                                 "sa-solver",
                                 "res-multistep",
                                 "res-multistep-a",
                                 "er-sde",
                                 "restart"})
    EXPECT_EQ(names.count(name), 1u) << name;
}

TEST(Registry, SuggestsTheNearestName) {
  try {
    find_sampler("dpm+2m");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("Did you mean 'dpm++2m'?"), std::string::npos)
        << error.what();
  }
}

/// Every sampler, with its defaults, on every schedule: finite, and the same in a batch as alone.
TEST(Registry, EverySamplerRunsAndKeepsImagesApart) {
  const auto schedule = guided_diffusion_schedule("cosine", 1000);
  const Denoiser denoise = toy_denoiser(PredictionType::v);
  for (const auto& sampler : samplers()) {
    const Configured chosen(sampler.name, "");
    TrajectoryConfig config;
    config.steps = 7;
    const auto trajectory = sampler.trajectory(schedule, with_options(config, chosen.options));
    ASSERT_EQ(trajectory.steps(), 7) << sampler.name;
    const auto draw = [&](uint64_t seed, int64_t images) {
      SeededNoise noise(image_seeds(seed, images));
      const Tensor unit = initial_noise(noise, {images, 3, 8, 8});
      return chosen.run(denoise, unit * trajectory.initial_scale, trajectory, noise);
    };
    const Tensor batch = draw(3, 3);
    EXPECT_TRUE(batch.isfinite().all().item<bool>()) << sampler.name;
    EXPECT_TRUE(at::allclose(batch[2], draw(5, 1)[0], 1e-5, 1e-6)) << sampler.name;
  }
}

/// The last step keeps its level, or goes up.
TEST(Registry, NoiseEndsWhereStepsDont) {
  const auto schedule = diffusers_schedule({"scaled_linear", 0.00085, 0.012});
  for (const std::string name : {"euler-a", "dpm++2m-sde", "dpm++3m-sde", "dpm++sde", "dpm2-a",
                                 "dpm++2s-a", "res-multistep-a", "er-sde"})
    for (const std::string last : {"", ",sigma_min=0.01"}) {
      const Configured chosen(name, "sigmas=karras,final=sigma_min" + last);
      TrajectoryConfig config;
      config.steps = 5;
      const auto trajectory =
          chosen.sampler.trajectory(schedule, with_options(config, chosen.options));
      SeededNoise noise({3});
      const Tensor start = initial_noise(noise, {1, 3, 8, 8}) * trajectory.initial_scale;
      const Tensor x = chosen.run(toy_denoiser(PredictionType::epsilon), start, trajectory, noise);
      EXPECT_TRUE(x.isfinite().all().item<bool>()) << name << last;
    }
}

TEST(Registry, TheKarrasPresetIsTheOption) {
  const auto schedule = diffusers_schedule({"scaled_linear", 0.00085, 0.012});
  const Configured preset("dpm++2m-karras", ""), option("dpm++2m", "sigmas=karras");
  const auto a = preset.sampler.trajectory(schedule, with_options({}, preset.options));
  const auto b = option.sampler.trajectory(schedule, with_options({}, option.options));
  for (size_t i = 0; i < a.levels.size(); ++i) EXPECT_EQ(a.levels[i].sigma, b.levels[i].sigma);
}

/// Cosine schedules would begin at a sigma of 20,000.
TEST(Registry, DefaultsBeginBelowPureNoise) {
  const auto schedule = guided_diffusion_schedule("cosine", 1000);
  for (const auto& sampler : samplers()) {
    if (sampler.name == "lcm" || sampler.name == "tcd") continue;  // made for their own timesteps
    const Configured chosen(sampler.name, "");
    const auto config = with_options(default_trajectory_config(schedule), chosen.options);
    const NoiseLevel first = sampler.trajectory(schedule, config).levels.front();
    EXPECT_LE(first.sigma / first.alpha, 80.01) << sampler.name;
    EXPECT_GE(first.sigma / first.alpha, 5) << sampler.name;
  }
}

TEST(Registry, OptionsOverrideTheConfig) {
  TrajectoryConfig config;
  config.spacing = Spacing::leading;
  config.steps_offset = 1;
  const Configured plain("euler", ""),
      changed("euler", "spacing=trailing,offset=2,final=sigma_min,rho=5");
  EXPECT_EQ(with_options(config, plain.options).spacing, Spacing::leading);
  EXPECT_EQ(with_options(config, plain.options).steps_offset, 1);
  const auto result = with_options(config, changed.options);
  EXPECT_EQ(result.spacing, Spacing::trailing);
  EXPECT_EQ(result.steps_offset, 2);
  EXPECT_FALSE(result.final_sigma_zero);
  EXPECT_EQ(result.rho, 5);
}

/// Its noise goes by these.
TEST(SaSolver, RefusesNetworksThatAreToldNoTimesteps) {
  EXPECT_THROW(find_sampler("sa-solver").trajectory(edm_schedule(), {}), UsageError);
}

TEST(Ddpm, RefusesALearnedVarianceThatIsNotThere) {
  const Configured chosen("ddpm", "variance=learned_range");
  const auto trajectory = chosen.sampler.trajectory(diffusers_schedule({}), {});
  SineNoise noise;
  EXPECT_THROW(chosen.run(toy_denoiser(PredictionType::epsilon), toy_base(), trajectory, noise),
               UsageError);
}

/// diffusers adds fixed_large's whole beta to the result when the last timestep isn't 0.
TEST(Ddpm, TheLastStepAddsNoNoiseUnlessStrict) {
  TrajectoryConfig config;
  config.steps = 4;
  config.spacing = Spacing::trailing;
  for (const bool strict : {false, true}) {
    const Configured chosen("ddpm",
                            strict ? "variance=fixed_large,strict=true" : "variance=fixed_large");
    const auto trajectory = chosen.sampler.trajectory(diffusers_schedule({}), config);
    SineNoise noise;
    chosen.run(toy_denoiser(PredictionType::epsilon), toy_base(), trajectory, noise);
    EXPECT_EQ(noise.draws, strict ? 4 : 3);
  }
}

}  // namespace
}  // namespace tiller::test
