/// Every registered sampler on a mixture of Gaussians with its exact score: how its error falls
/// with the number of steps, and where samplers draw noise, whether they end in the mixture.
#include <cstdio>
#include <set>

#include "tests/samplers/logarithmic.h"
#include "tests/samplers/mixture.h"

namespace tiller::test {
namespace {

/// The error at the end of a run in units of the largest number there.
double error_of(const Configured& chosen, int steps, bool variance_preserving, Grid grid) {
  static const Mixture mixture;
  static const Tensor start = toy_base(at::kDouble) * kFrom;
  static const Tensor exact = mixture.flow(start, kFrom, kTo);
  const auto trajectory = logarithmic(steps, variance_preserving, grid);
  SineNoise noise;
  const Tensor end =
      chosen.run(mixture.denoiser(), start * trajectory.levels.front().alpha, trajectory, noise) /
      trajectory.levels.back().alpha;
  return relative_error(end, exact.flatten());
}

struct Order {
  std::string sampler, options;
  double order;     ///< In theory.
  bool preserving;  ///< Levels with alpha^2 + sigma^2 = 1.
  Grid grid = Grid::uniform;
  int steps = 160;  ///< Of the coarser run.
};

/// Theory: a one-step method's own order, Adams-Bashforth's (lms), DPM-Solver++'s (arXiv
/// 2211.01095), UniPC's with its corrector, one more than the predictor's (arXiv 2302.04867), and
/// PNDM's 2 (arXiv 2202.09778, theorem 3.1). dpm++3m has the paper's order where the second
/// difference has its whole weight; half of it, diffusers', leaves an error of second order.
/// Multistep methods of third order and more begin with a step of Euler's, whose error is of second
/// order on a uniform grid: the graded one shows what comes after. ge's extrapolation is
/// Adams-Bashforth's at gamma = 1.5 and of first order elsewhere. ipndm's weights are those of even
/// steps, which is an error of second order where steps change steadily, ipndm-v's one of third.
/// The singlestep methods have whole groups here. bdia-edm goes towards noise by
/// Euler's method; rex's coupling makes Euler's method symmetric, and so of even order.
const std::vector<Order>& orders() {
  static const std::vector<Order> all = {
      {"ddim", "", 1, true},
      {"euler", "", 1, false},
      {"euler-a", "eta=0", 1, false},
      {"ge", "", 1, true},
      {"ge", "gamma=1.5", 2, true},
      {"heun", "", 2, false},
      {"dpm2", "", 2, false},
      {"dpm2-a", "eta=0", 2, false},
      {"dpm++2m", "", 2, true},
      {"dpm++2m", "solver=heun", 2, true},
      {"dpm++2m-karras", "", 2, true},
      {"dpm++3m", "", 2, true},
      {"dpm++3m", "third_order=exact", 3, true, Grid::graded},
      {"dpm++2s", "", 2, true},
      {"dpm++2s", "solver=heun", 2, true},
      {"dpm++3s", "", 3, true, Grid::uniform, 150},
      {"dpm++3s", "solver=heun", 3, true, Grid::uniform, 150},
      {"dpm++2m-sde", "eta=0", 2, true},
      {"dpm++3m-sde", "eta=0", 2, true},
      {"dpm++3m-sde", "eta=0,third_order=exact", 3, true, Grid::graded},
      {"dpm++sde", "eta=0", 2, false},
      {"dpm++2s-a", "eta=0", 2, false},
      {"res-multistep", "", 2, false},
      {"unipc", "order=1,lower_order_final=false", 2, true},
      {"unipc", "lower_order_final=false", 3, true},
      {"deis", "", 2, true},
      {"deis", "order=3", 3, true, Grid::graded},
      {"sa-solver", "tau=0,lower_order_final=false", 2, true},
      {"pndm", "", 2, true},
      {"pndm", "skip_prk_steps=false", 2, true},
      {"lms", "order=2", 2, false},
      {"lms", "order=3", 3, false, Grid::graded},
      {"lms", "", 4, false, Grid::graded},
      {"ipndm", "", 2, false},
      {"ipndm-v", "", 3, false},
      {"tcd", "eta=0", 1, true},
      {"bdia", "gamma=0.5,lattice=off", 1, true},
      {"bdia-edm", "gamma=0.5,lattice=off", 1, false},
      {"edict", "", 1, true},
      {"o-belm", "", 2, true},
      {"rex", "", 2, true, Grid::uniform, 1280},
      {"rex", "solver=midpoint", 2, true, Grid::uniform, 640},
      {"exact-dpm++", "", 2, true},
      {"aidi", "", 1, true},
      {"fpi", "", 1, true},
      {"renoise", "", 1, true},
      {"npi", "", 1, true},
      {"null-text", "", 1, true},
      {"direct", "", 1, true}};
  return all;
}

/// A row of the table in docs/.
void print(const Order& entry, double measured, double error) {
  if (!std::getenv("TILLER_TABLES")) return;
  const std::string options = entry.options.empty() ? "" : ":" + entry.options;
  std::printf("| `%s%s`%s | %d | %.2f | %.1e |\n", entry.sampler.c_str(), options.c_str(),
              entry.grid == Grid::graded ? ", graded" : "", int(entry.order), measured, error);
}

TEST(Convergence, OrdersAreThoseOfTheory) {
  for (const Order& entry : orders()) {
    const Configured chosen(entry.sampler, entry.options);
    const double coarse = error_of(chosen, entry.steps, entry.preserving, entry.grid);
    const double fine = error_of(chosen, 2 * entry.steps, entry.preserving, entry.grid);
    const double measured = std::log2(coarse / fine);
    print(entry, measured, fine);
    EXPECT_NEAR(measured, entry.order, 0.2) << entry.sampler << ":" << entry.options;
    EXPECT_LT(fine, 0.05) << entry.sampler << ":" << entry.options;
  }
}

/// These levels' timesteps are others than a network's.
const std::string kAllNoise = "tau_low=0,tau_high=1e9";

struct Stochastic {
  std::string sampler, options;
  bool preserving;
  int steps;
};

const std::vector<Stochastic>& stochastic() {
  static const std::vector<Stochastic> all = {
      {"ddpm", "", true, 150},
      {"ddim", "eta=1", true, 150},
      {"ge", "gamma=1,mu=0.5", true, 150},
      {"euler-a", "", false, 150},
      {"heun", "s_churn=20,s_noise=1", false, 100},
      {"dpm2-a", "", false, 60},
      {"dpm++2s-a", "", false, 60},
      {"dpm++sde", "", false, 60},
      {"res-multistep-a", "", false, 120},
      {"er-sde", "", false, 120},
      {"restart", "restarts=40x2@0.2-2,s_noise=1", false, 60},
      {"sa-solver", kAllNoise, true, 120},
      {"dpm++2m-sde", "", true, 120},
      {"dpm++3m-sde", "", true, 120},
      {"tcd", "", true, 150},
      {"ddpm-inversion", "", true, 150},
      {"ledits++", "", true, 120}};
  return all;
}

/// 20,000 numbers: standard errors are 0.007 of the mean and 0.0035 of each probability.
TEST(Convergence, StochasticSamplersEndInTheMixture) {
  const Mixture mixture;
  for (const Stochastic& entry : stochastic()) {
    const Configured chosen(entry.sampler, entry.options);
    const auto trajectory = logarithmic(entry.steps, entry.preserving);
    SeededNoise noise({5, 6});
    const NoiseLevel& first = trajectory.levels.front();
    const Tensor unit = noise.draw(at::empty({2, 1, 100, 100}, at::kDouble));
    const Tensor start =
        unit * first.sigma * std::hypot(1, 1 / kFrom) + first.alpha * mixture.mean();
    const Tensor end =
        chosen.run(mixture.denoiser(), start, trajectory, noise) / trajectory.levels.back().alpha;
    EXPECT_NEAR(end.mean().item<double>(), mixture.mean(), 0.03) << entry.sampler;
    for (const double bound : {-1.5, -1.0, -0.4, 0.4, 0.9, 1.5})
      EXPECT_NEAR((end < bound).to(at::kDouble).mean().item<double>(), mixture.below(bound, kTo),
                  0.015)
          << entry.sampler << " below " << bound;
  }
}

/// A new sampler says here what its theory is. lcm takes the denoiser for a consistency function,
/// which it isn't here.
TEST(Convergence, EverySamplerIsMeasured) {
  std::set<std::string> known = {"lcm"};
  for (const auto& entry : orders()) known.insert(entry.sampler);
  for (const auto& entry : stochastic()) known.insert(entry.sampler);
  for (const auto& sampler : samplers()) EXPECT_TRUE(known.count(sampler.name)) << sampler.name;
}

}  // namespace
}  // namespace tiller::test
