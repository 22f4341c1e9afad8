#include "samplers/noise_schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "io/error.h"
#include "samplers/sigmas.h"

namespace tiller {
namespace {

const BetaTable kStableDiffusion{"scaled_linear", 0.00085, 0.012};

TEST(NoiseSchedule, StableDiffusionsSigmas) {
  const auto table = sigma_table(diffusers_schedule(kStableDiffusion));
  EXPECT_NEAR(table.front(), 0.0291675348, 1e-7);
  EXPECT_NEAR(table.back(), 14.614646911621094, 2e-5);
  EXPECT_NEAR(sigma_at(table, 999 - 999.0 / 7), 6.678018093109131, 1e-5);
}

TEST(NoiseSchedule, SigmaAndTimestepAreInverse) {
  const auto table = sigma_table(diffusers_schedule(kStableDiffusion));
  for (const double t : {0.0, 0.25, 17.0, 500.5, 998.9, 999.0})
    EXPECT_NEAR(timestep_at(table, sigma_at(table, t)), t, t < 1 ? 0.2 : 2e-2);
  for (const int t : {0, 1, 500, 999}) EXPECT_NEAR(timestep_at(table, table[t]), t, 2e-4);
  EXPECT_EQ(timestep_at(table, 1e-9), 0);
  EXPECT_EQ(timestep_at(table, 1e9), 999);
}

TEST(NoiseSchedule, ZeroTerminalSnr) {
  BetaTable table = kStableDiffusion;
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

TEST(NoiseSchedule, RescaledTimesteps) {
  EXPECT_EQ(guided_diffusion_schedule("cosine", 4000, true).network_timestep(3999), 999.75);
  EXPECT_EQ(guided_diffusion_schedule("cosine", 4000, false).network_timestep(3999), 3999);
}

TEST(NoiseSchedule, RefusesUnknownNames) {
  EXPECT_THROW(diffusers_schedule({"sigmoid"}), Error);
  EXPECT_THROW(diffusers_schedule({"linear", 1e-4, 0.02, 0}), Error);
  EXPECT_THROW(guided_diffusion_schedule("scaled_linear", 1000), Error);
}

}  // namespace
}  // namespace tiller
