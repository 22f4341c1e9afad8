#include <c10/core/InferenceMode.h>

#include "guidance/pooled_denoiser.h"
#include "samplers/defaults.h"
#include "samplers/parallel.h"
#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

/// Two images of the model that comes with Tiller, with classifier-free guidance.
struct Demo {
  Model model = load_model(std::string(TILLER_SOURCE_DIR) + "/weights");
  std::vector<uint64_t> seeds = {0, 1};
  Configured ddim{"ddim", ""};
  Trajectory trajectory;

  explicit Demo(int steps) {
    const auto schedule = guided_diffusion_schedule(model.noise_schedule, model.diffusion_steps,
                                                    model.rescale_timesteps);
    TrajectoryConfig config = default_trajectory_config(schedule);
    config.steps = steps;
    trajectory = ddim.sampler.trajectory(schedule, with_options(config, ddim.options));
  }

  GuidedBatch batch() const {
    GuidedBatch batch;
    batch.positive.label = at::tensor({6, 8}, at::kLong);
    batch.negative.emplace().label = at::full({2}, model.classes, at::kLong);
    batch.seeds = seeds;
    batch.steps = trajectory.steps();
    return batch;
  }

  Tensor start(NoiseSource& noise) const {
    return initial_noise(noise, {2, 3, model.image_size, model.image_size}) *
           trajectory.initial_scale;
  }

  Tensor sequential() const {
    SeededNoise noise(seeds);
    auto chosen = choose_guidances({"cfg:scale=2"}, model);
    const Tensor x = start(noise);
    return ddim.run(guided_denoiser(model, chosen, batch(), true), x, trajectory, noise);
  }

  /// The samples, and in `cost` how many sweeps they took.
  Tensor parallel(const std::string& text, GuidanceCost& cost) const {
    SeededNoise noise(seeds);
    const auto options = parallel_options(text, trajectory.steps());
    const auto chosen = choose_guidances({"cfg:scale=2"}, model);
    const auto window = pooled_denoiser(
        model, guidance_sets(chosen, model, size_t(options.window)), batch(), true, &cost);
    const Tensor x = start(noise);
    return sample_parallel(window, x, trajectory, ddim.sampler, ddim.options, noise, options);
  }
};

double root_mean_square(const Tensor& x) { return x.pow(2).mean().sqrt().item<double>(); }

TEST(ParallelDemo, MixingTakesFewerSweepsThanPicard) {
  const c10::InferenceMode guard;
  const Demo demo(24);
  const Tensor expected = demo.sequential();
  GuidanceCost picard, taa;
  const Tensor a = demo.parallel("picard:window=0,tolerance=0.02", picard);
  const Tensor b = demo.parallel("taa:window=0,tolerance=0.02", taa);
  EXPECT_LT(root_mean_square(a - expected), 0.02);
  EXPECT_LT(root_mean_square(b - expected), 0.02);
  EXPECT_LT(picard.windows, 24);
  EXPECT_LT(taa.windows, picard.windows);
}

}  // namespace
}  // namespace tiller::test
