#include "samplers/spacing.h"

#include <gtest/gtest.h>

#include "io/error.h"
#include "samplers/trajectory.h"

namespace tiller {
namespace {

using List = std::vector<double>;
using enum Spacing;

List head(const List& list, size_t count) { return {list.begin(), list.begin() + count}; }

TEST(Spacing, Leading) {
  EXPECT_EQ(spaced_timesteps(leading, SpacingStyle::integer, 1000, 4, 1), (List{751, 501, 251, 1}));
  EXPECT_EQ(spaced_timesteps(leading, SpacingStyle::open, 1000, 4, 1), (List{801, 601, 401, 201}));
}

TEST(Spacing, TrailingRoundsTiesAsNumpy) {
  EXPECT_EQ(head(spaced_timesteps(trailing, SpacingStyle::integer, 1000, 16), 6),
            (List{999, 937, 874, 811, 749, 687}));
  EXPECT_EQ(head(spaced_timesteps(trailing, SpacingStyle::open, 1000, 48), 6),
            (List{999, 978, 957, 936, 916, 895}));
}

TEST(Spacing, TrailingGivesWhatWasAskedFor) {
  for (int steps = 1; steps <= 1000; ++steps) {
    const auto list = spaced_timesteps(trailing, SpacingStyle::integer, 1000, steps);
    ASSERT_EQ(list.size(), static_cast<size_t>(steps));
    ASSERT_EQ(list.front(), 999);
    ASSERT_GE(list.back(), 0) << steps;
  }
}

/// As DPMSolverMultistepScheduler with lambda_min_clipped: numpy.arange(usable, 0, -1000 / 6).
TEST(Spacing, TrailingKeepsItsStrideWhereTimestepsAreLeftOut) {
  EXPECT_EQ(spaced_timesteps(trailing, SpacingStyle::open, 1000, 6, 0, 900),
            (List{899, 732, 566, 399, 232, 66}));
  EXPECT_EQ(spaced_timesteps(trailing, SpacingStyle::open, 1000, 6, 0, 100), (List{99}));
}

TEST(Spacing, Linspace) {
  EXPECT_EQ(spaced_timesteps(linspace, SpacingStyle::integer, 1000, 4), (List{999, 666, 333, 0}));
  EXPECT_EQ(spaced_timesteps(linspace, SpacingStyle::fractional, 1000, 3), (List{999, 499.5, 0}));
  EXPECT_EQ(spaced_timesteps(linspace, SpacingStyle::integer, 1000, 3), (List{999, 500, 0}));
  EXPECT_EQ(head(spaced_timesteps(linspace, SpacingStyle::open, 1000, 30), 5),
            (List{999, 966, 932, 899, 866}));
  EXPECT_EQ(spaced_timesteps(linspace, SpacingStyle::integer, 1000, 1).size(), 1u);
}

/// numpy.rint(scipy.stats.beta.ppf(1 - numpy.linspace(0, 1, N, endpoint=False), 0.6, 0.6) * 999).
TEST(Spacing, BetaIsDenseAtBothEnds) {
  for (const auto style : {SpacingStyle::integer, SpacingStyle::fractional, SpacingStyle::open}) {
    EXPECT_EQ(spaced_timesteps(Spacing::beta, style, 1000, 8),
              (List{999, 942, 823, 670, 500, 329, 176, 57}));
    EXPECT_EQ(spaced_timesteps(Spacing::beta, style, 1000, 1), (List{999}));
  }
  const auto many = spaced_timesteps(Spacing::beta, SpacingStyle::integer, 1000, 400);
  EXPECT_EQ(many.size(), 387u);
  EXPECT_EQ(head(many, 6), (List{999, 998, 997, 996, 995, 994}));
}

TEST(Spacing, RefusesImpossibleCounts) {
  EXPECT_THROW(spaced_timesteps(leading, SpacingStyle::integer, 1000, 0), UsageError);
  EXPECT_THROW(spaced_timesteps(leading, SpacingStyle::integer, 1000, 1001), UsageError);
  EXPECT_THROW(spaced_timesteps(leading, SpacingStyle::integer, 1000, 1000, 1), UsageError);
  EXPECT_THROW(spaced_timesteps(leading, SpacingStyle::integer, 1000, 10, -1), UsageError);
  EXPECT_THROW(spacing_from("trailin"), UsageError);
}

TEST(Respacing, AWholeStride) {
  EXPECT_EQ(respaced_timesteps("ddim4", 1000), (List{750, 500, 250, 0}));
  EXPECT_EQ(respaced_timesteps("ddim1000", 1000).size(), 1000u);
  EXPECT_THROW(respaced_timesteps("ddim999", 1000), UsageError);
}

TEST(Respacing, Sections) {
  EXPECT_EQ(respaced_timesteps("3,2,1", 12), (List{8, 7, 4, 3, 2, 0}));  // 1.5 rounds to 2
  EXPECT_EQ(respaced_timesteps("1", 10), (List{0}));
  EXPECT_EQ(respaced_timesteps("", 3), (List{2, 1, 0}));
}

TEST(Respacing, RefusesWhatDoesNotParse) {
  for (const std::string text : {"ddim", "ddimx", "ddim0", "10,", ",10", "1e3", "-5", "0", "1001",
                                 "600,600", "99999999999999999999", "ddim10,10"})
    EXPECT_THROW(respaced_timesteps(text, 1000), UsageError) << text;
}

NoiseSchedule linear_schedule() { return diffusers_schedule({}); }

TEST(Trajectory, DdimLandsOnTheNextTimestepUnlessStrict) {
  TrajectoryConfig config;
  config.steps = 8;
  config.spacing = linspace;
  const auto right = table_trajectory(linear_schedule(), config);
  EXPECT_EQ(right.landing(0).alpha, right.levels[1].alpha);
  config.strict = true;
  const auto strict = table_trajectory(linear_schedule(), config);
  EXPECT_NE(strict.landing(0).alpha, strict.levels[1].alpha);
  EXPECT_NEAR(strict.landing(0).alpha, std::sqrt(linear_schedule().alphas_cumprod[999 - 125]),
              1e-12);
}

TEST(Trajectory, SigmasAreOneScheduleInEitherForm) {
  TrajectoryConfig config;
  config.steps = 12;
  config.sigmas = SigmaRule::karras;
  const auto ve = sigma_trajectory(linear_schedule(), config);
  const auto vp = open_trajectory(linear_schedule(), config);
  for (int i = 0; i <= 12; ++i) {
    EXPECT_EQ(ve.levels[i].alpha, 1);
    EXPECT_NEAR(vp.levels[i].sigma / vp.levels[i].alpha, ve.levels[i].sigma, 1e-9);
    EXPECT_EQ(ve.levels[i].step, i);
  }
}

TEST(Trajectory, RespacingReplacesStepsAndSpacing) {
  TrajectoryConfig config;
  config.respacing = "ddim10";
  for (const auto make : {table_trajectory, sigma_trajectory, open_trajectory}) {
    const auto trajectory = make(linear_schedule(), config);
    ASSERT_EQ(trajectory.steps(), 10);
    EXPECT_EQ(trajectory.levels[0].timestep, 900);
    EXPECT_EQ(trajectory.levels[9].timestep, 0);
    EXPECT_NEAR(trajectory.initial_scale,
                std::hypot(1, trajectory.levels[0].sigma / trajectory.levels[0].alpha) *
                    trajectory.levels[0].alpha,
                1e-9);
  }
}

TEST(Trajectory, RefusesSigmasWhereThereAreNone) {
  TrajectoryConfig config;
  config.sigmas = SigmaRule::karras;
  EXPECT_THROW(table_trajectory(linear_schedule(), config), UsageError);
  config.sigma_min = 100;
  config.sigma_max = 10;
  EXPECT_THROW(sigma_trajectory(linear_schedule(), config), UsageError);
}

}  // namespace
}  // namespace tiller
