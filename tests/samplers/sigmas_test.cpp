#include "samplers/sigmas.h"

#include <gtest/gtest.h>

#include <cmath>

#include "io/error.h"
#include "samplers/trajectory.h"

namespace tiller {
namespace {

NoiseSchedule stable_diffusion() { return diffusers_schedule({"scaled_linear", 0.00085, 0.012}); }

/// scipy.stats.beta.ppf.
TEST(Sigmas, BetaQuantilesAreScipys) {
  EXPECT_NEAR(beta_quantile(0.01, 0.6, 0.6) / 0.0008612388215429059, 1, 1e-12);
  EXPECT_NEAR(beta_quantile(0.25, 0.6, 0.6), 0.17568037865269498, 1e-13);
  EXPECT_NEAR(beta_quantile(0.5, 0.6, 0.6), 0.5, 1e-13);
  EXPECT_NEAR(beta_quantile(0.999, 0.6, 0.6), 0.9999814412614826, 1e-13);
  EXPECT_NEAR(beta_quantile(0.1, 2, 5), 0.09259525891312873, 1e-13);
  EXPECT_NEAR(beta_quantile(0.999, 2, 5), 0.818613866919134, 1e-13);
  EXPECT_EQ(beta_quantile(0, 0.6, 0.6), 0);
  EXPECT_EQ(beta_quantile(1, 0.6, 0.6), 1);
}

/// The sigmas of the paper's ten steps, as its authors publish them.
TEST(Sigmas, AlignedStepsAreThePublishedOnes) {
  const double sd15[] = {14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152},
               sdxl[] = {14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113};
  const auto table = sigma_table(stable_diffusion());
  const auto first = aligned_sigmas(10, SigmaRule::ays_sd15, table),
             second = aligned_sigmas(10, SigmaRule::ays_sdxl, table);
  for (int k = 0; k < 10; ++k) {
    EXPECT_NEAR(first[k] / sd15[k], 1, 6e-3) << k;
    EXPECT_NEAR(second[k] / sdxl[k], 1, 0.015) << k;
  }
}

TEST(Sigmas, AlignedStepsOfOtherCountsPassThroughTheTen) {
  const auto table = sigma_table(stable_diffusion());
  const auto ten = aligned_sigmas(10, SigmaRule::ays_sdxl, table),
             twenty = aligned_sigmas(20, SigmaRule::ays_sdxl, table);
  for (int k = 0; k < 10; ++k) EXPECT_NEAR(twenty[2 * k] / ten[k], 1, 1e-12);
  for (int k = 1; k < 19; k += 2)
    EXPECT_NEAR(twenty[k] / std::sqrt(twenty[k - 1] * twenty[k + 1]), 1, 1e-12);
}

TEST(Sigmas, RulesDescendBetweenTheEnds) {
  const auto table = sigma_table(stable_diffusion());
  for (const std::string name :
       {"karras", "exponential", "lu", "beta", "kl-optimal", "ays-sd15", "ays-sdxl"}) {
    for (const int steps : {1, 2, 7, 50}) {
      TrajectoryConfig config;
      config.steps = steps;
      config.sigmas = sigma_rule_from(name);
      const auto levels = open_trajectory(stable_diffusion(), config).levels;
      ASSERT_EQ(levels.size(), static_cast<size_t>(steps) + 1);
      EXPECT_NEAR(levels[0].sigma / levels[0].alpha, table.back(), 1e-3) << name;
      for (int k = 0; k < steps; ++k) {
        EXPECT_LT(levels[k + 1].sigma, levels[k].sigma) << name << " " << k;
        EXPECT_EQ(levels[k].timestep, std::trunc(levels[k].timestep));
      }
    }
  }
  EXPECT_THROW(sigma_rule_from("kerras"), UsageError);
}

/// tan(k / 4 atan(0.03) + (1 - k / 4) atan(14.6)), by Python's math.
TEST(Sigmas, KlOptimalIsUniformInArctan) {
  const std::vector<double> expected = {14.59999999999999, 2.1436182551621727, 0.9623233366931739,
                                        0.4205503785855991, 0.03};
  const auto sigmas = kl_optimal_sigmas(5, 0.03, 14.6);
  ASSERT_EQ(sigmas.size(), expected.size());
  for (size_t k = 0; k < expected.size(); ++k) EXPECT_NEAR(sigmas[k] / expected[k], 1, 1e-12);
}

TEST(Sigmas, AListIsTakenAsItIs) {
  const auto options = parse_options("sampler", "sigmas=12.5+3+0.75+0.1+0", trajectory_options());
  TrajectoryConfig config;
  config.steps = 30;
  config = with_options(config, options);
  EXPECT_EQ(config.steps, 4);
  const auto ode = sigma_trajectory(stable_diffusion(), config).levels;
  const auto open = open_trajectory(stable_diffusion(), config).levels;
  ASSERT_EQ(ode.size(), 5u);
  ASSERT_EQ(open.size(), 5u);
  const std::vector<double> expected = {12.5, 3, 0.75, 0.1, 0};
  for (size_t k = 0; k < 5; ++k) {
    EXPECT_EQ(ode[k].sigma, expected[k]);
    EXPECT_NEAR(open[k].sigma / open[k].alpha, expected[k], 1e-12);
  }
  EXPECT_THROW(table_trajectory(stable_diffusion(), config), UsageError);
  EXPECT_THROW(sigma_trajectory(flow_schedule(PredictionType::flow), config), UsageError);
  EXPECT_THROW(ode_trajectory(flow_schedule(PredictionType::flow), config), UsageError);
}

TEST(Sigmas, ListsThatDontDescendAreRefused) {
  for (const std::string text : {"", "0", "1+1", "1+2", "3+0+1", "1+", "1,0.5", "1+x", "nan",
                                 "2+-1", "1e9", "2+1e-9", "2+0+0"})
    EXPECT_THROW(sigma_list_from(text), UsageError) << text;
  EXPECT_EQ(sigma_list_from("2"), (std::vector<double>{2}));
}

/// ComfyUI's sgm_uniform: linspace(999, 0, N + 1) without its end.
TEST(Sigmas, SgmUniformLeavesOutTheCleanest) {
  TrajectoryConfig config;
  config.steps = 4;
  config.spacing = spacing_from("sgm-uniform");
  const auto levels = sigma_trajectory(stable_diffusion(), config).levels;
  const double expected[] = {999, 749.25, 499.5, 249.75};
  for (int k = 0; k < 4; ++k) EXPECT_NEAR(levels[k].timestep, expected[k], 1e-9);
  EXPECT_EQ(levels[4].sigma, 0);
}

TEST(Sigmas, LambdaMinClippedLeavesOutTheNoisiest) {
  TrajectoryConfig config;
  config.steps = 10;
  config.lambda_min_clipped = -5.1;
  BetaTable cosine;
  cosine.schedule = "squaredcos_cap_v2";
  const auto first = open_trajectory(diffusers_schedule(cosine), config).levels.front();
  EXPECT_LE(std::log(first.sigma / first.alpha), 5.1);
  EXPECT_GT(std::log(first.sigma / first.alpha), 4.5);
}

TEST(Sigmas, TheNearestKnownOne) {
  EXPECT_EQ(nearest_known({}, 1.3), 1.3);
  EXPECT_EQ(nearest_known({10, 2, 1, 0}, 1.4), 1);
  EXPECT_EQ(nearest_known({10, 2, 1, 0}, 7), 10);
}

TEST(Sigmas, OneStepOfEdmBeginsInPureNoise) {
  TrajectoryConfig config;
  config.steps = 1;
  for (const auto trajectory : {sigma_trajectory, open_trajectory}) {
    const NoiseLevel first = trajectory(edm_schedule(), config).levels.front();
    EXPECT_NEAR(first.sigma / first.alpha, 80, 1e-9);
  }
}

TEST(Sigmas, ConsistencyModelsHaveTimesteps) {
  EXPECT_THROW(consistency_trajectory(edm_schedule(), {}), UsageError);
  EXPECT_THROW(consistency_trajectory(flow_schedule(PredictionType::rectified_flow), {}),
               UsageError);
  EXPECT_NO_THROW(consistency_trajectory(diffusers_schedule({}), {}));
}

/// A network that knows a few sigmas is at no other at a level of its own rule.
TEST(Sigmas, RulesPassThroughTheKnownOnes) {
  NoiseSchedule schedule = edm_schedule();
  for (int k = 0; k <= 60; ++k) schedule.known_sigmas.push_back(80 * std::pow(0.84, k));
  TrajectoryConfig config;
  config.steps = 9;
  for (const auto trajectory : {sigma_trajectory, open_trajectory}) {
    const auto levels = trajectory(schedule, config).levels;
    for (int i = 0; i < 9; ++i) {
      const double sigma = levels[i].sigma / levels[i].alpha;
      EXPECT_NEAR(sigma / nearest_known(schedule.known_sigmas, sigma), 1, 1e-12) << i;
    }
  }
}

}  // namespace
}  // namespace tiller
