/// Noise added before steps, arXiv 2206.00364, algorithm 2.
#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

constexpr int kSteps = 9;
constexpr double kChurn = 3, kNoise = 1.007;

/// Of a network that knows four sigmas an octave alone.
NoiseSchedule coarse_schedule() {
  NoiseSchedule schedule = edm_schedule();
  for (int k = 0; k <= 60; ++k) schedule.known_sigmas.push_back(80 * std::pow(0.84, k));
  return schedule;
}

double rounded(const NoiseSchedule& schedule, double sigma) {
  double nearest = 1e9;
  for (const double known : schedule.known_sigmas)
    if (std::abs(known - sigma) < std::abs(nearest - sigma)) nearest = known;
  return schedule.known_sigmas.empty() ? sigma : nearest;
}

Tensor sample_at(const Tensor& x, double sigma) {
  return toy_denoiser(PredictionType::edm)(x, {1, sigma, std::log(sigma) / 4, 0}).sample;
}

/// edm_sampler line by line, by hand: its sigmas, and where it raises the noise, are rounded.
Tensor by_hand(const NoiseSchedule& schedule, bool second_order, std::vector<double>& raised) {
  std::vector<double> sigmas;
  for (int i = 0; i < kSteps; ++i) {
    const double from = std::pow(80, 1 / 7.0), to = std::pow(0.002, 1 / 7.0);
    sigmas.push_back(rounded(schedule, std::pow(from + (to - from) * i / (kSteps - 1), 7)));
  }
  sigmas.push_back(0);
  SineNoise noise;
  Tensor x = toy_base(at::kDouble) * sigmas[0];
  for (int i = 0; i < kSteps; ++i) {
    const double now = sigmas[i], next = sigmas[i + 1];
    const double gamma = std::min(kChurn / kSteps, std::sqrt(2.0) - 1);
    const double hat = rounded(schedule, now * (1 + gamma));
    raised.push_back(hat);
    if (hat > now) x = x + std::sqrt(hat * hat - now * now) * kNoise * noise.draw(x);
    const Tensor d = (x - sample_at(x, hat)) / hat;
    Tensor end = x + (next - hat) * d;
    if (second_order && next > 0)
      end = x + (next - hat) * (d + (end - sample_at(end, next)) / next) / 2;
    x = end;
  }
  return x;
}

Tensor run_churned(const std::string& name, const NoiseSchedule& schedule,
                   std::vector<double>& told) {
  const Configured chosen(name, "s_churn=3,s_noise=1.007");
  TrajectoryConfig config;
  config.steps = kSteps;
  const auto trajectory = chosen.sampler.trajectory(schedule, with_options(config, chosen.options));
  SineNoise noise;
  const Denoiser denoise = [&](const Tensor& x, const NoiseLevel& level) {
    EXPECT_NEAR(level.timestep, std::log(level.sigma) / 4, 1e-12);
    told.push_back(level.sigma);
    return toy_denoiser(PredictionType::edm)(x, level);
  };
  return chosen.run(denoise, toy_base(at::kDouble) * trajectory.initial_scale, trajectory, noise);
}

TEST(Churn, RaisesTheNoiseToSigmasThatTheNetworkKnows) {
  for (const auto& schedule : {edm_schedule(), coarse_schedule()}) {
    for (const std::string name : {"euler", "heun"}) {
      std::vector<double> raised, told;
      const Tensor expected = by_hand(schedule, name == "heun", raised);
      EXPECT_LT(relative_error(run_churned(name, schedule, told), expected.flatten()), 1e-9)
          << name;
      for (const double sigma : told)
        EXPECT_NEAR(sigma / rounded(schedule, sigma), 1, 1e-12) << name;
      EXPECT_NEAR(raised[0], schedule.known_sigmas.empty() ? 80 * 4 / 3.0 : 80, 1e-9);
    }
  }
}

}  // namespace
}  // namespace tiller::test
