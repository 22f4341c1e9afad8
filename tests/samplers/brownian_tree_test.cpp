#include "samplers/brownian_tree.h"

#include "samplers/scheduler_config.h"
#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

TEST(BrownianTree, SeedsAreNumpys) {
  for (const Json& test : fixture("brownian.json").at("seeds"))
    EXPECT_EQ(spawned_seed(test.at("entropy"), test.at("spawn_key").get<std::vector<uint64_t>>()),
              test.at("seed").get<uint32_t>());
}

TEST(BrownianTree, NoiseIsTorchsdes) {
  SeededNoise noise({11});
  const auto path = noise.path(at::zeros({1, 2, 3, 3}), 0.029168f, 14.614643f);
  for (const Json& test : fixture("brownian.json").at("noise")) {
    const Tensor got = path(test.at("start").get<float>(), test.at("end").get<float>());
    EXPECT_LT(relative_error(got, tensor_from(test.at("noise"))), 1e-4) << test.at("start");
  }
}

/// DPMSolverSDEScheduler with `noise_sampler_seed`. The last digits of a logarithm and an
/// exponential decide where its paths are asked, and differ between processors: its own results
/// by 3.2e-4 between the fixture's and another, where ours are within 1e-4 of them.
TEST(BrownianTree, TrajectoriesAreThoseOfDiffusers) {
  const Sampler& sampler = find_sampler("dpm++sde");
  for (const Json& test : fixture("brownian.json").at("runs")) {
    const auto setup = read_scheduler_config(test.at("config"));
    const auto options = parse_options("sampler", "", configured_options(setup, sampler));
    const auto trajectory =
        from_strength(sampler.trajectory(configured_schedule(setup, sampler),
                                         with_options({test.at("steps")}, options)),
                      test.at("strength"));
    SeededNoise noise({test.at("seed").get<uint64_t>()});
    const Tensor start =
        at::cat({toy_base(), 0.9 * toy_base()}, 1) * trajectory.levels.front().sigma;
    const Tensor final =
        sampler.run(toy_denoiser(setup.prediction), start, trajectory, options, noise, {});
    EXPECT_LT(relative_error(final, tensor_from(test.at("final"))), 1e-3)
        << test.at("config") << test.at("strength");
  }
}

TEST(BrownianTree, OverlappingIntervalsShareTheirNoise) {
  const BrownianTree tree(3, {1000}, 0, 4);
  const Tensor whole = tree.increment(1, 3), first = tree.increment(1, 1.7),
               second = tree.increment(1.7, 3);
  EXPECT_TRUE(at::allclose(whole, first + second, 1e-5, 1e-5));
  EXPECT_NEAR(whole.var().item<double>(), 2, 0.25);
  EXPECT_NEAR(first.var().item<double>(), 0.7, 0.1);
  EXPECT_NEAR((first * second).mean().item<double>(), 0, 0.1);
}

/// A source without trees draws both halves of an interval.
TEST(NoisePath, RefinesTheLastInterval) {
  SineNoise draws, same;
  const auto path = draws.path(toy_base(), 0, 4);
  const Tensor half = path(4, 3), whole = path(4, 0);
  const Tensor first = same.draw(toy_base()), second = same.draw(toy_base());
  EXPECT_TRUE(half.equal(first));
  EXPECT_TRUE(at::allclose(whole, 0.5 * first + std::sqrt(0.75) * second));
}

}  // namespace
}  // namespace tiller::test
