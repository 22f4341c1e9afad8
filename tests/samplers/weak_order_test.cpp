/// How samplers that draw noise near the distribution of the data as steps grow, without sampling:
/// of a Gaussian the denoiser is linear, and so a run is a sum of its start and what it drew.
#include <cstdio>

#include "tests/samplers/logarithmic.h"
#include "tests/samplers/mixture.h"

namespace tiller::test {
namespace {

/// Draw k is 1 at number 2 + k, and 0 elsewhere.
class Impulses final : public NoiseSource {
 public:
  Tensor draw(const Tensor& like) override {
    Tensor impulse = at::zeros_like(like);
    impulse.flatten()[2 + draws_++] = 1;
    return impulse;
  }

 private:
  int64_t draws_ = 0;
};

struct Normal {
  double mean, std;
};

/// Of data from N(0.7, 0.4^2), for alpha = 1.
const Mixture kData{{1}, {0.7}, 0.4};

Normal at_sigma(double sigma) { return {kData.mean(), std::hypot(kData.std, sigma)}; }

/// Where a run from the exact distribution ends. Number 0 of its result is what it makes of 0
/// without noise, number 1 of 1, and the others of one draw each.
Normal end_of(const Configured& chosen, const Trajectory& trajectory) {
  const Normal first = at_sigma(kFrom);
  const double scale = trajectory.levels.front().alpha;
  Tensor x = at::zeros({1, 1, 1, 2 + 3 * trajectory.steps()}, at::kDouble);
  x[0][0][0][1] = scale;
  Impulses noise;
  const Tensor end =
      chosen.run(kData.denoiser(), x, trajectory, noise).flatten() / trajectory.levels.back().alpha;
  const double constant = end[0].item<double>();
  const Tensor gains = end.slice(0, 1) - constant;
  const double kept = gains[0].item<double>() * first.std;
  const double drawn = gains.slice(0, 1).square().sum().item<double>();
  return {constant + gains[0].item<double>() * first.mean, std::sqrt(kept * kept + drawn)};
}

/// Wasserstein's distance of second order from the data's distribution with the last level's noise.
double weak_error(const Configured& chosen, int steps, bool variance_preserving) {
  const Normal got = end_of(chosen, logarithmic(steps, variance_preserving)), exact = at_sigma(kTo);
  return std::hypot(got.mean - exact.mean, got.std - exact.std);
}

struct WeakOrder {
  std::string sampler, options;
  double order;     ///< In theory.
  bool preserving;  ///< Levels with alpha^2 + sigma^2 = 1.
};

/// Theory: bringing noise to a level is exact, and so churned and ancestral samplers have the order
/// of their step down: Euler's 1, Heun's 2. ddpm, ddim and ge hold an estimate over a step, as
/// Euler's method does. dpm++sde's midpoint has seen half of a step's noise, and the difference in
/// dpm++2m-sde brings to a step what it misses of the last one's: order 2. Three steps bring no
/// more than that; diffusers' weight of the second difference tends to -1 and not to 0, whose error
/// is of first order. er-sde's higher orders are left out: their integrals are sums of 200 points,
/// which leave an error of first order, small as it is.
const std::vector<WeakOrder>& weak_orders() {
  static const std::vector<WeakOrder> all = {{"ddpm", "", 1, true},
                                             {"ddpm", "variance=fixed_large", 1, true},
                                             {"ddim", "eta=0.5", 1, true},
                                             {"ddim", "eta=1", 1, true},
                                             {"ge", "gamma=1,mu=0.5", 1, true},
                                             {"euler-a", "", 1, false},
                                             {"euler", "s_churn=20", 1, false},
                                             {"heun", "s_churn=20", 2, false},
                                             {"dpm2", "s_churn=20", 2, false},
                                             {"dpm2-a", "", 2, false},
                                             {"dpm++2s-a", "", 2, false},
                                             {"dpm++sde", "", 2, false},
                                             {"res-multistep-a", "", 2, false},
                                             {"er-sde", "order=1", 1, false},
                                             {"sa-solver", "tau_low=0,tau_high=1e9", 2, true},
                                             {"dpm++2m-sde", "", 2, true},
                                             {"dpm++2m-sde", "solver=heun", 2, true},
                                             {"dpm++3m-sde", "", 1, true},
                                             {"dpm++3m-sde", "third_order=k-diffusion", 2, true},
                                             {"dpm++3m-sde", "third_order=exact", 2, true}};
  return all;
}

/// A row of the table in docs/.
void print(const WeakOrder& entry, double measured, double error) {
  if (!std::getenv("TILLER_TABLES")) return;
  const std::string options = entry.options.empty() ? "" : ":" + entry.options;
  std::printf("| `%s%s` | %d | %.2f | %.1e |\n", entry.sampler.c_str(), options.c_str(),
              int(entry.order), measured, error);
}

TEST(Convergence, WeakOrdersAreThoseOfTheory) {
  for (const WeakOrder& entry : weak_orders()) {
    const Configured chosen(entry.sampler, entry.options);
    const double coarse = weak_error(chosen, 160, entry.preserving);
    const double fine = weak_error(chosen, 320, entry.preserving);
    const double measured = std::log2(coarse / fine);
    print(entry, measured, fine);
    EXPECT_NEAR(measured, entry.order, 0.2) << entry.sampler << ":" << entry.options;
    EXPECT_LT(fine, 0.05) << entry.sampler << ":" << entry.options;
  }
}

}  // namespace
}  // namespace tiller::test
