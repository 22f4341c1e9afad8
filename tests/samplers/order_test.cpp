#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

constexpr double kMean = 0.7, kStd = 0.4;

/// The exact denoiser for data from N(kMean, kStd^2).
Prediction gaussian(const Tensor& x, const NoiseLevel& level) {
  const double a = level.alpha, s = level.sigma, variance = kStd * kStd;
  const double gain = a * variance / (a * a * variance + s * s);
  const Tensor sample = kMean + gain * (x - a * kMean);
  return {sample, (x - a * sample) / s, {}, {}};
}

/// From sigma / alpha = 20 to 0.05, uniform in its logarithm.
Trajectory log_uniform(int steps, bool variance_preserving) {
  Trajectory trajectory = custom_trajectory(exponential_sigmas(steps + 1, 0.05, 20),
                                            [](double sigma) { return sigma; });
  if (!variance_preserving) return trajectory;
  for (auto& level : trajectory.levels) {
    level.alpha = 1 / std::hypot(level.sigma, 1);
    level.sigma *= level.alpha;
  }
  return trajectory;
}

/// Distance from the probability flow's closed form: (x / alpha - mean) grows as hypot(std, sigma).
double order_error(const std::string& name, const std::string& options, int steps,
                   bool variance_preserving) {
  const auto trajectory = log_uniform(steps, variance_preserving);
  const auto &first = trajectory.levels.front(), &last = trajectory.levels.back();
  const Tensor start = (toy_base(at::kDouble) * 20 + kMean) * first.alpha;
  const double growth = std::hypot(kStd, last.sigma / last.alpha) / std::hypot(kStd, 20.0);
  const Tensor exact = (toy_base(at::kDouble) * 20 * growth + kMean) * last.alpha;
  SineNoise noise;
  const Configured chosen(name, options);
  return relative_error(chosen.run(gaussian, start, trajectory, noise), exact.flatten());
}

void expect_order(double order, const std::string& name, const std::string& options = "",
                  bool variance_preserving = false) {
  const double coarse = order_error(name, options, 80, variance_preserving);
  const double fine = order_error(name, options, 160, variance_preserving);
  EXPECT_NEAR(std::log2(coarse / fine), order, 0.2) << name << " " << coarse << " " << fine;
  EXPECT_LT(fine, order == 1 ? 0.05 : 2e-3) << name;
}

TEST(Order, FirstOrder) {
  expect_order(1, "ddim", "", true);
  expect_order(1, "ddim");
  expect_order(1, "euler");
  expect_order(1, "euler-a", "eta=0");
}

TEST(Order, SecondOrder) {
  expect_order(2, "heun");
  expect_order(2, "dpm++2m", "", true);
  expect_order(2, "dpm++2m", "solver=heun", true);
  expect_order(2, "dpm++2m");
  expect_order(2, "dpm++2m-sde", "eta=0,s_noise=0", true);
  expect_order(2, "dpm++sde", "eta=0");
  expect_order(2, "lms", "order=2");
  expect_order(2, "pndm", "", true);
}

TEST(Order, HigherOrders) {
  expect_order(3, "lms", "order=3");
  expect_order(3, "unipc", "lower_order_final=false", true);  // order 2, and one by the corrector
  expect_order(4, "unipc", "order=3,lower_order_final=false", true);
}

/// In long runs the error of its first step is left, of which second order has as much.
TEST(Order, ThreeStepsAreCloserThanTwo) {
  const double second = order_error("dpm++2m", "", 80, true);
  EXPECT_LT(order_error("dpm++3m", "", 80, true), second / 2);
  EXPECT_LT(order_error("dpm++3m-sde", "eta=0", 80, true), second / 2);
}

/// Ancestral samplers must end with the data's own mean and spread.
TEST(Ancestral, KeepTheDistribution) {
  for (const std::string name : {"ddpm", "ddim", "euler-a", "dpm2-a", "dpm++2s-a", "dpm++sde",
                                 "dpm++2m-sde", "dpm++3m-sde"}) {
    const Configured chosen(name, name == "ddim" ? "eta=1" : "");
    const bool two = name == "dpm++sde" || name == "dpm2-a" || name == "dpm++2s-a";
    const int steps = two ? 60 : 200;  // of two evaluations
    const auto trajectory = log_uniform(steps, name != "euler-a" && !two);
    SeededNoise noise({5, 6});
    const auto& first = trajectory.levels.front();
    const Tensor unit = noise.draw(at::empty({2, 1, 100, 100}));
    const Tensor start = unit * std::hypot(first.alpha * kStd, first.sigma) + first.alpha * kMean;
    const auto& last = trajectory.levels.back();
    const Tensor end = chosen.run(gaussian, start, trajectory, noise) / last.alpha;
    EXPECT_NEAR(end.mean().item<double>(), kMean, 0.02) << name;
    EXPECT_NEAR(end.std().item<double>(), std::hypot(kStd, 0.05), 0.02) << name;
  }
}

}  // namespace
}  // namespace tiller::test
