#include "samplers/noise_schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "io/error.h"
#include "samplers/defaults.h"
#include "samplers/sigmas.h"

namespace tiller {
namespace {

const BetaTable kStableDiffusionBetas{"scaled_linear", 0.00085, 0.012};

TEST(NoiseSchedule, StableDiffusionsSigmas) {
  const auto table = sigma_table(diffusers_schedule(kStableDiffusionBetas));
  EXPECT_NEAR(table.front(), 0.0291675348, 1e-7);
  EXPECT_NEAR(table.back(), 14.614646911621094, 2e-5);
  EXPECT_NEAR(sigma_at(table, 999 - 999.0 / 7), 6.678018093109131, 1e-5);
}

TEST(NoiseSchedule, SigmaAndTimestepAreInverse) {
  const auto table = sigma_table(diffusers_schedule(kStableDiffusionBetas));
  for (const double t : {0.0, 0.25, 17.0, 500.5, 998.9, 999.0})
    EXPECT_NEAR(timestep_at(table, sigma_at(table, t)), t, t < 1 ? 0.2 : 2e-2);
  for (const int t : {0, 1, 500, 999}) EXPECT_NEAR(timestep_at(table, table[t]), t, 2e-4);
  EXPECT_EQ(timestep_at(table, 1e-9), 0);
  EXPECT_EQ(timestep_at(table, 1e9), 999);
}

TEST(NoiseSchedule, ZeroTerminalSnr) {
  BetaTable table = kStableDiffusionBetas;
  const auto plain = diffusers_schedule(table);
  table.zero_terminal_snr = true;
  const auto zero = diffusers_schedule(table);
  EXPECT_EQ(zero.alphas_cumprod.back(), 0);
  EXPECT_NEAR(zero.alphas_cumprod.front(), plain.alphas_cumprod.front(), 1e-6);
  EXPECT_NEAR(sigma_table(zero).back(), 4096, 1e-3);
}

TEST(NoiseSchedule, GuidedDiffusionIsInFloat64) {
  // prod(1 - linspace(1e-4, 0.02, 1000)) in float64.
  EXPECT_NEAR(
      guided_diffusion_schedule("linear", 1000).alphas_cumprod.back() / 4.035829765375676e-05, 1,
      1e-12);
  const auto cosine = guided_diffusion_schedule("cosine", 1000).alphas_cumprod;
  const auto f = [](double u) {
    return std::pow(std::cos((u + 0.008) / 1.008 * std::numbers::pi / 2), 2);
  };
  EXPECT_NEAR(cosine[499], f(0.5) / f(0), 1e-12);
}

/// abar is symmetric about its middle; diffusers' schedule of that name is another, of betas.
TEST(NoiseSchedule, Sigmoids) {
  const auto own = guided_diffusion_schedule("sigmoid", 1000).alphas_cumprod;
  EXPECT_NEAR(own[499], 0.5, 1e-12);
  EXPECT_NEAR(own[249] + own[749], 1, 1e-12);
  EXPECT_NEAR(own[749],
              (1 / (1 + std::exp(-3.0)) - 1 / (1 + std::exp(-1.5))) /
                  (1 / (1 + std::exp(-3.0)) - 1 / (1 + std::exp(3.0))),
              1e-12);
  const auto diffusers = diffusers_schedule({"sigmoid"}).alphas_cumprod;
  EXPECT_NEAR(diffusers.back() / 3.9681821363046765e-05, 1, 1e-5);
  EXPECT_NEAR(diffusers[400], 0.620680570602417, 1e-6);
}

TEST(NoiseSchedule, GuidedDiffusionsMayEndInPureNoise) {
  for (const std::string name : {"linear", "cosine", "sigmoid"}) {
    const auto plain = guided_diffusion_schedule(name, 1000).alphas_cumprod;
    const auto zero = guided_diffusion_schedule(name, 1000, false, true);
    EXPECT_EQ(zero.alphas_cumprod.back(), 0) << name;
    EXPECT_NEAR(zero.alphas_cumprod.front(), plain.front(), 1e-12) << name;
    EXPECT_LT(zero.alphas_cumprod[500], plain[500]) << name;
    EXPECT_EQ(default_trajectory_config(zero).spacing, Spacing::trailing) << name;
  }
}

TEST(NoiseSchedule, RescaledTimesteps) {
  EXPECT_EQ(guided_diffusion_schedule("cosine", 4000, true).network_timestep(3999), 999.75);
  EXPECT_EQ(guided_diffusion_schedule("cosine", 4000, false).network_timestep(3999), 3999);
}

TEST(NoiseSchedule, RefusesUnknownNames) {
  EXPECT_THROW(diffusers_schedule({"sigmoids"}), Error);
  EXPECT_THROW(diffusers_schedule({"linear", 1e-4, 0.02, 0}), Error);
  EXPECT_THROW(guided_diffusion_schedule("scaled_linear", 1000), Error);
}

}  // namespace
}  // namespace tiller
