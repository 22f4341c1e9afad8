#include "training/objective.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "training/random.h"

namespace tiller::testing {
namespace {

constexpr int64_t kBatch = 2000;

NoiseSchedule schedule() { return guided_diffusion_schedule("cosine", 50); }

at::Generator generator(uint64_t index = 0) { return step_generator(5, 1, index); }

Tensor clean() {
  return at::rand({kBatch, 3, 4, 4}, generator(9), at::TensorOptions(at::kFloat)) * 2 - 1;
}

/// (x_t - sqrt(abar) x_0) / sqrt(1 - abar): all of the noise in an example, in float64.
Tensor noise_of(const TrainExample& example, const Tensor& x0, const NoiseSchedule& schedule) {
  const Tensor table = at::tensor(schedule.alphas_cumprod, at::kDouble);
  const Tensor abar = table.index_select(0, example.timesteps.to(at::kLong)).reshape({-1, 1, 1, 1});
  return (example.x.to(at::kDouble) - abar.sqrt() * x0) / (1 - abar).sqrt();
}

double mean_of(const Tensor& x) { return x.to(at::kDouble).mean().item<double>(); }

TEST(Objective, WithoutPerturbationTheTargetIsTheNoise) {
  const Tensor x0 = clean();
  const auto example = input_perturbed(x0, schedule(), PredictionType::epsilon, 0, generator());
  EXPECT_TRUE(
      at::allclose(noise_of(example, x0, schedule()), example.target.to(at::kDouble), 1e-4, 1e-4));
  EXPECT_NEAR(mean_of(example.target), 0, 0.02);
  EXPECT_NEAR(mean_of(example.target.square()), 1, 0.02);
}

TEST(Objective, ThePerturbationIsNotInTheTarget) {
  constexpr double kGamma = 0.3;
  const Tensor x0 = clean();
  const auto example =
      input_perturbed(x0, schedule(), PredictionType::epsilon, kGamma, generator());
  const Tensor xi = noise_of(example, x0, schedule()) - example.target;
  EXPECT_NEAR(mean_of(xi), 0, 0.01);
  EXPECT_NEAR(std::sqrt(mean_of(xi.square())), kGamma, 0.01);
  EXPECT_NEAR(mean_of(xi * example.target), 0, 0.01);
  EXPECT_NEAR(mean_of(xi * x0), 0, 0.01);
}

TEST(Objective, TimestepsCoverTheSchedule) {
  const auto example =
      input_perturbed(clean(), schedule(), PredictionType::epsilon, 0.1, generator());
  const Tensor counts = example.timesteps.to(at::kLong).bincount({}, 50);
  ASSERT_EQ(counts.size(0), 50);
  EXPECT_GT(counts.min().item<int64_t>(), 10);  // 40 expected, standard deviation 6
  EXPECT_LT(counts.max().item<int64_t>(), 70);
}

TEST(Objective, RescaledTimestepsSpanAThousand) {
  const NoiseSchedule rescaled = guided_diffusion_schedule("cosine", 50, true);
  const auto plain =
      input_perturbed(clean(), schedule(), PredictionType::epsilon, 0.1, generator());
  const auto example =
      input_perturbed(clean(), rescaled, PredictionType::epsilon, 0.1, generator());
  EXPECT_TRUE(example.timesteps.equal(plain.timesteps * 20));
  EXPECT_TRUE(example.x.equal(plain.x));
}

TEST(Objective, SamplePredictionAimsAtTheImage) {
  const Tensor x0 = clean();
  const auto example = input_perturbed(x0, schedule(), PredictionType::sample, 0.1, generator());
  EXPECT_TRUE(example.target.equal(x0));
}

TEST(Objective, VelocityPredictionAimsAtTheCleanNoiseAndTheImage) {
  const Tensor x0 = clean();
  const auto aim = [&](PredictionType type) {
    return input_perturbed(x0, schedule(), type, 0.3, generator());
  };
  const auto v = aim(PredictionType::v), epsilon = aim(PredictionType::epsilon);
  EXPECT_TRUE(v.x.equal(epsilon.x));
  const Tensor abar = at::tensor(schedule().alphas_cumprod, at::kFloat)
                          .index_select(0, v.timesteps.to(at::kLong))
                          .reshape({-1, 1, 1, 1});
  // x_t without the perturbation and v give x_0 and epsilon back.
  const Tensor x = abar.sqrt() * x0 + (1 - abar).sqrt() * epsilon.target;
  EXPECT_TRUE(at::allclose(abar.sqrt() * x - (1 - abar).sqrt() * v.target, x0, 1e-4, 1e-5));
  EXPECT_TRUE(
      at::allclose((1 - abar).sqrt() * x + abar.sqrt() * v.target, epsilon.target, 1e-4, 1e-5));
}

TEST(Objective, LossIsTheMeanSquaredError) {
  const Tensor output = at::tensor({1.0f, 2.0f, 5.0f, 0.0f}).reshape({1, 1, 2, 2});
  EXPECT_FLOAT_EQ(simple_loss(output, at::zeros_like(output)).item<float>(), 7.5f);
  EXPECT_EQ(simple_loss(output.to(at::kBFloat16), output).scalar_type(), at::kFloat);
}

}  // namespace
}  // namespace tiller::testing
