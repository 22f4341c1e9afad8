#include <c10/core/InferenceMode.h>

#include "guidance/pooled_denoiser.h"
#include "samplers/defaults.h"
#include "samplers/parallel.h"
#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

/// An image of the model that comes with Tiller.
struct Demo {
  Model model = load_model(fs::path(TILLER_SOURCE_DIR) / "weights");
  Configured ddim{"ddim", ""};
  Trajectory trajectory;
  GuidedBatch batch;

  explicit Demo(int steps) {
    const auto schedule = guided_diffusion_schedule(model.noise_schedule, model.diffusion_steps,
                                                    model.rescale_timesteps);
    TrajectoryConfig config = default_trajectory_config(schedule);
    config.steps = steps;
    trajectory = ddim.sampler.trajectory(schedule, with_options(config, ddim.options));
    batch.positive.label = at::tensor({6}, at::kLong);
    batch.seeds = {0};
    batch.steps = steps;
  }

  Tensor start(NoiseSource& noise) const {
    return initial_noise(noise, {1, 3, model.image_size, model.image_size}) *
           trajectory.initial_scale;
  }

  Tensor sequential() const {
    SeededNoise noise(batch.seeds);
    const Tensor x = start(noise);
    return ddim.run(guided_denoiser(model, {}, batch, true), x, trajectory, noise);
  }

  /// The sample, and in `sweeps` how many it took.
  Tensor parallel(const std::string& text, int64_t& sweeps) const {
    SeededNoise noise(batch.seeds);
    GuidanceCost cost;
    const auto options = parallel_options(text, trajectory.steps());
    const auto window = pooled_denoiser(model, guidance_sets({}, model, size_t(options.window)),
                                        batch, true, &cost);
    const Tensor x = start(noise);
    const Tensor sample =
        sample_parallel(window, x, trajectory, ddim.sampler, ddim.options, noise, options);
    sweeps = cost.windows;
    return sample;
  }
};

double root_mean_square(const Tensor& x) { return x.pow(2).mean().sqrt().item<double>(); }

/// Mixing saves sweeps over the same equations without, and comes nearer than Picard.
TEST(ParallelDemo, MixingSavesSweeps) {
  const c10::InferenceMode guard;
  const Demo demo(24);
  const Tensor expected = demo.sequential();
  const std::string rest = "window=0,tolerance=0.001";
  int64_t picard = 0, plain = 0, mixed = 0;
  const Tensor a = demo.parallel("picard:" + rest, picard);
  const Tensor b = demo.parallel("taa:order=24,memory=1," + rest, plain);
  const Tensor c = demo.parallel("taa:" + rest, mixed);
  EXPECT_LT(mixed, plain);
  EXPECT_LE(picard, 12);
  for (const Tensor& sample : {a, b, c}) EXPECT_LT(root_mean_square(sample - expected), 1e-3);
  EXPECT_LT(root_mean_square(c - expected), root_mean_square(a - expected));
}

}  // namespace
}  // namespace tiller::test
