#include "training/objective.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/file.h"
#include "training/random.h"

namespace tiller::testing {
namespace {

using Json = nlohmann::json;

constexpr int64_t kBatch = 2000;

NoiseSchedule schedule() { return guided_diffusion_schedule("cosine", 50); }

Tensor clean() {
  return at::rand({kBatch, 3, 4, 4}, step_generator(5, 1, 9), at::TensorOptions(at::kFloat)) * 2 -
         1;
}

TrainExample example_of(const Objective& objective, const Tensor& x0) {
  const Tensor t = at::arange(kBatch, at::kLong) % objective.schedule.size();
  return train_example(objective, x0,
                       draw_noise(objective, t, {}, x0.sizes(), step_generator(5, 1, 0)));
}

TrainExample example_of(PredictionType type, double gamma, const Tensor& x0) {
  return example_of({.prediction = type, .schedule = schedule(), .input_perturbation = gamma}, x0);
}

/// (x_t - sqrt(abar) x_0) / sqrt(1 - abar): all of the noise in an example, in float64.
Tensor noise_of(const TrainExample& example, const Tensor& x0, const NoiseSchedule& schedule) {
  const Tensor table = at::tensor(schedule.alphas_cumprod, at::kDouble);
  const Tensor abar = table.index_select(0, example.t).reshape({-1, 1, 1, 1});
  return (example.x.to(at::kDouble) - abar.sqrt() * x0) / (1 - abar).sqrt();
}

double mean_of(const Tensor& x) { return x.to(at::kDouble).mean().item<double>(); }

TEST(Objective, WithoutPerturbationTheTargetIsTheNoise) {
  const Tensor x0 = clean();
  const auto example = example_of(PredictionType::epsilon, 0, x0);
  EXPECT_TRUE(
      at::allclose(noise_of(example, x0, schedule()), example.target.to(at::kDouble), 1e-4, 1e-4));
  EXPECT_NEAR(mean_of(example.target), 0, 0.02);
  EXPECT_NEAR(mean_of(example.target.square()), 1, 0.02);
}

TEST(Objective, ThePerturbationIsNotInTheTarget) {
  constexpr double kGamma = 0.3;
  const Tensor x0 = clean();
  const auto example = example_of(PredictionType::epsilon, kGamma, x0);
  const Tensor xi = noise_of(example, x0, schedule()) - example.target;
  EXPECT_NEAR(mean_of(xi), 0, 0.01);
  EXPECT_NEAR(std::sqrt(mean_of(xi.square())), kGamma, 0.01);
  EXPECT_NEAR(mean_of(xi * example.target), 0, 0.01);
  EXPECT_NEAR(mean_of(xi * x0), 0, 0.01);
}

TEST(Objective, RescaledTimestepsSpanAThousand) {
  const Tensor x0 = clean();
  const auto plain = example_of(PredictionType::epsilon, 0.1, x0);
  const auto example = example_of(
      {.schedule = guided_diffusion_schedule("cosine", 50, true), .input_perturbation = 0.1}, x0);
  EXPECT_TRUE(example.timesteps.equal(plain.timesteps * 20));
  EXPECT_TRUE(example.x.equal(plain.x));
}

TEST(Objective, SamplePredictionAimsAtTheImage) {
  const Tensor x0 = clean();
  EXPECT_TRUE(example_of(PredictionType::sample, 0.1, x0).target.equal(x0));
}

TEST(Objective, VelocityPredictionAimsAtTheCleanNoiseAndTheImage) {
  const Tensor x0 = clean();
  const auto v = example_of(PredictionType::v, 0.3, x0),
             epsilon = example_of(PredictionType::epsilon, 0.3, x0);
  EXPECT_TRUE(v.x.equal(epsilon.x));
  const Tensor abar =
      at::tensor(schedule().alphas_cumprod, at::kFloat).index_select(0, v.t).reshape({-1, 1, 1, 1});
  // x_t without the perturbation and v give x_0 and epsilon back.
  const Tensor x = abar.sqrt() * x0 + (1 - abar).sqrt() * epsilon.target;
  EXPECT_TRUE(at::allclose(abar.sqrt() * x - (1 - abar).sqrt() * v.target, x0, 1e-4, 1e-5));
  EXPECT_TRUE(
      at::allclose((1 - abar).sqrt() * x + abar.sqrt() * v.target, epsilon.target, 1e-4, 1e-5));
}

/// Whatever is predicted, an error of x_0 costs min(SNR, gamma) times its square.
TEST(Objective, MinSnrWeighsTheErrorOfTheImageAlike) {
  constexpr double kGamma = 5;
  const Tensor x0 = clean();
  const Tensor abar = at::tensor(schedule().alphas_cumprod, at::kDouble);
  for (const auto type : {PredictionType::epsilon, PredictionType::v, PredictionType::sample}) {
    const Objective objective{.prediction = type, .schedule = schedule(), .min_snr = kGamma};
    const auto example = example_of(objective, x0);
    const Tensor a = abar.index_select(0, example.t), snr = a / (1 - a);
    // How far the answer is off for an x_0 that is 1 off, squared.
    const Tensor off = type == PredictionType::sample ? at::ones_like(a)
                       : type == PredictionType::v    ? 1 / (1 - a)
                                                      : snr;
    EXPECT_TRUE(at::allclose(example.error_weight.to(at::kDouble) * off, snr.clamp_max(kGamma),
                             1e-4, 1e-5));
  }
}

/// The part's rows of a whole batch are the batch's.
TEST(Objective, APartHasTheWholeBatchesNoise) {
  const Tensor x0 = clean();
  const Objective objective{.schedule = schedule(), .input_perturbation = 0.1};
  const Tensor t = at::arange(kBatch, at::kLong) % 50;
  const TrainNoise noise = draw_noise(objective, t, {}, x0.sizes(), step_generator(5, 1, 0));
  const auto part = train_example(objective, x0.narrow(0, 30, 7), noise.rows(30, 7));
  const auto whole = train_example(objective, x0, noise);
  EXPECT_TRUE(part.x.equal(whole.x.narrow(0, 30, 7)));
  EXPECT_TRUE(part.target.equal(whole.target.narrow(0, 30, 7)));
}

/// make_objectives.py's.
Tensor wave(int64_t channels, double speed, double height = 1) {
  const int64_t count = 6 * channels * 4;
  const Tensor places = at::arange(1, count + 1, at::kDouble);
  return (height * (speed * places).sin()).to(at::kFloat).reshape({6, channels, 2, 2});
}

TEST(Objective, LossesEqualDdpmIps) {
  const Json fixture = Json::parse(read_file(TILLER_FIXTURES "/objectives.json"));
  const Tensor t = at::tensor(fixture.at("timesteps").get<std::vector<int64_t>>());
  const Tensor images = (wave(3, 0.9, 1.2).clamp(-1, 1) * 127.5).round() / 127.5;
  for (const Json& one : fixture.at("losses")) {
    SCOPED_TRACE(one.dump());
    const bool learned = one.at("learned");
    const Objective objective{.prediction = one.at("mean") == "EPSILON" ? PredictionType::epsilon
                                                                        : PredictionType::sample,
                              .schedule = guided_diffusion_schedule(one.at("schedule"), 50),
                              .input_perturbation = one.at("gamma"),
                              .learned_variance = learned};
    const auto example =
        train_example(objective, images, {t, {}, {}, wave(3, 1.1, 1.4), wave(3, 2.3, 1.4)});
    const Tensor losses = image_losses(objective, wave(learned ? 6 : 3, 1.7, 0.8), example);
    const Tensor expected = at::tensor(one.at("loss").get<std::vector<double>>());
    EXPECT_TRUE(at::allclose(losses.to(at::kDouble), expected, 1e-5, 1e-5)) << losses;
  }
}

TEST(Objective, LossEqualsEdms) {
  const Json fixture = Json::parse(read_file(TILLER_FIXTURES "/objectives.json")).at("edm");
  const Objective objective{.prediction = PredictionType::edm, .schedule = edm_schedule()};
  const auto numbers = [&](const char* key) {
    return at::tensor(fixture.at(key).get<std::vector<double>>(), at::kDouble).to(at::kFloat);
  };
  const auto example =
      train_example(objective, wave(3, 0.9), {{}, numbers("sigma"), {}, wave(3, 1.1, 1.4), {}});
  EXPECT_TRUE(at::allclose(example.x.flatten().narrow(0, 0, 20), numbers("input"), 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(example.timesteps, numbers("sigma").log() / 4, 1e-6, 1e-6));
  const Tensor losses = image_losses(objective, wave(3, 1.7, 0.8), example);
  EXPECT_TRUE(at::allclose(losses, numbers("loss"), 1e-5, 1e-5)) << losses << numbers("loss");
}

/// What the network is taught is what a sampler makes x_0 of.
TEST(Objective, TheTargetGivesTheImageBack) {
  const Tensor x0 = clean();
  for (const auto type :
       {PredictionType::epsilon, PredictionType::v, PredictionType::sample, PredictionType::flow,
        PredictionType::rectified_flow, PredictionType::edm}) {
    SCOPED_TRACE(prediction_type_name(type));
    Objective objective{.prediction = type, .schedule = schedule()};
    if (is_flow(type)) objective.schedule = flow_schedule(type, 50);
    if (type == PredictionType::edm) objective.schedule = edm_schedule(50);
    const auto example = example_of(objective, x0);
    const int64_t row = 17;
    const double abar = objective.schedule.alphas_cumprod[17];
    NoiseLevel level{std::sqrt(abar), std::sqrt(1 - abar)};
    Tensor input = example.x.narrow(0, row, 1);
    if (type == PredictionType::edm) {
      const double sigma = std::exp(4 * example.timesteps[row].item<double>());
      level = {1, sigma};
    }
    const Tensor x = input / input_scale(level, type);
    const Tensor sample = to_prediction(example.target.narrow(0, row, 1), x, level, type).sample;
    EXPECT_TRUE(at::allclose(sample, x0.narrow(0, row, 1), 1e-3, 1e-4));
    if (type != PredictionType::edm) {
      EXPECT_NEAR(example.timesteps[row].item<double>(), objective.schedule.network_timestep(17),
                  1e-4);
    }
  }
}

/// The radius of PFGM++'s noise: R^2 / (sigma^2 D) = B / (1 - B) with B ~ Beta(N / 2, D / 2), whose
/// mean is (N / 2) / (D / 2 - 1). At infinite D it is normal noise.
TEST(Objective, PfgmppsNoiseHasItsRadius) {
  const Tensor x0 = clean();
  for (const int64_t augmented : {8, 128, 0}) {
    const Objective objective{
        .prediction = PredictionType::edm, .schedule = edm_schedule(), .augmented = augmented};
    const TrainNoise noise = draw_noise(objective, at::zeros({kBatch}, at::kLong), {}, x0.sizes(),
                                        step_generator(5, 1, 0));
    const double n = 48, d = double(augmented);
    const double expected = augmented ? n / (d - 2) * d : n;
    EXPECT_NEAR(mean_of(noise.epsilon.square().flatten(1).sum(1)) / expected, 1,
                augmented == 8 ? 0.08 : 0.02);
  }
}

TEST(Objective, TheBoundDoesntTeachTheMean) {
  const Objective objective{.schedule = schedule(), .learned_variance = true};
  const Tensor images = wave(3, 0.9);
  const auto example =
      train_example(objective, images, {at::arange(6, at::kLong) * 9, {}, {}, wave(3, 1.1), {}});
  const Tensor output = wave(6, 1.7, 0.8).requires_grad_(true);
  image_losses(objective, output, example).sum().backward();
  const auto gradients = output.grad().chunk(2, 1);
  const Tensor squared = 2 * (output.detach().chunk(2, 1)[0] - example.target) / 12;
  EXPECT_TRUE(at::allclose(gradients[0], squared, 1e-5, 1e-6));
  EXPECT_GT(gradients[1].abs().max().item<double>(), 1e-4);
}

TEST(Objective, LossesAreFloat32) {
  const Objective objective{.schedule = schedule()};
  const Tensor output = at::tensor({1.0f, 2.0f, 5.0f, 0.0f}).reshape({1, 1, 2, 2});
  TrainExample example{.target = at::zeros_like(output)};
  EXPECT_FLOAT_EQ(image_losses(objective, output, example).item<float>(), 7.5f);
  EXPECT_EQ(image_losses(objective, output.to(at::kBFloat16), example).scalar_type(), at::kFloat);
}

}  // namespace
}  // namespace tiller::testing
