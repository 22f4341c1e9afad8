#include "training/objective.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "io/file.h"
#include "samplers/sigmas.h"
#include "training/random.h"
#include "training/variational_bound.h"

namespace tiller::test {
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

/// (B, 1, 1, 1) in float64.
Tensor abar_of(const NoiseSchedule& schedule, const Tensor& t) {
  const Tensor table = at::tensor(schedule.alphas_cumprod, at::kDouble);
  return table.index_select(0, t).reshape({-1, 1, 1, 1});
}

/// (x_t - sqrt(abar) x_0) / sqrt(1 - abar): all of the noise in an example, in float64.
Tensor noise_of(const TrainExample& example, const Tensor& x0, const NoiseSchedule& schedule) {
  const Tensor abar = abar_of(schedule, example.t);
  return (example.x.to(at::kDouble) - abar.sqrt() * x0) / (1 - abar).sqrt();
}

/// One of each prediction, of 50 timesteps.
std::vector<Objective> objectives() {
  std::vector<Objective> all;
  for (const auto type : {PredictionType::epsilon, PredictionType::v, PredictionType::sample})
    all.push_back({.prediction = type, .schedule = schedule()});
  for (const auto type : {PredictionType::flow, PredictionType::rectified_flow})
    all.push_back({.prediction = type, .schedule = flow_schedule(type, 50)});
  all.push_back({.prediction = PredictionType::edm, .schedule = edm_schedule(50)});
  return all;
}

double mean_of(const Tensor& x) { return x.to(at::kDouble).mean().item<double>(); }

TEST(Objective, WithoutPerturbationTheTargetIsTheNoise) {
  const Tensor x0 = clean();
  const auto example = example_of(PredictionType::epsilon, 0, x0);
  EXPECT_TRUE(
      at::allclose(noise_of(example, x0, schedule()), example.target.to(at::kDouble), 1e-5, 1e-5));
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
  const Tensor abar = abar_of(schedule(), v.t);
  const Tensor expected = abar.sqrt() * epsilon.target - (1 - abar).sqrt() * x0;
  EXPECT_TRUE(at::allclose(v.target.to(at::kDouble), expected, 1e-5, 1e-6));
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
    EXPECT_TRUE(
        at::allclose(example.error_weight.to(at::kDouble) * off, snr.clamp_max(kGamma), 1e-5, 0));
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
  for (const Objective& objective : objectives())
    for (const int64_t row : {2, 17, 40}) {
      const PredictionType type = objective.prediction;
      SCOPED_TRACE(prediction_type_name(type) + " " + std::to_string(row));
      const auto example = example_of(objective, x0);
      const double abar = objective.schedule.alphas_cumprod[row];
      NoiseLevel level{std::sqrt(abar), std::sqrt(1 - abar)};
      if (type == PredictionType::edm)
        level = {1, std::exp(4 * example.timesteps[row].item<double>())};
      const Tensor input = example.x.narrow(0, row, 1).to(at::kDouble);
      const Tensor x = input / input_scale(level, type), target = example.target.narrow(0, row, 1);
      const Tensor sample = to_prediction(target.to(at::kDouble), x, level, type).sample;
      EXPECT_TRUE(at::allclose(sample, x0.narrow(0, row, 1).to(at::kDouble), 1e-5, 1e-5));
      if (type != PredictionType::edm) {
        EXPECT_NEAR(example.timesteps[row].item<double>(),
                    objective.schedule.network_timestep(double(row)), 1e-4);
      }
    }
}

/// How much of the noise is in the network's input, (B, 1, 1, 1) in float64.
Tensor noise_share(const Objective& objective, const TrainNoise& noise) {
  if (objective.prediction == PredictionType::edm) {
    const Tensor sigma = noise.sigma.to(at::kDouble).reshape({-1, 1, 1, 1});
    return sigma / (sigma.square() + 0.25).sqrt();
  }
  if (is_flow(objective.prediction))
    return (noise.t.to(at::kDouble).reshape({-1, 1, 1, 1}) + 1) / objective.schedule.size();
  return (1 - abar_of(objective.schedule, noise.t)).sqrt();
}

/// arXiv 2301.11706, algorithm 1, carried over: gamma xi comes to the noise that is seen, not to
/// what is to be answered.
TEST(Objective, ThePerturbationIsInTheInputAloneWhateverIsPredicted) {
  constexpr double kGamma = 0.15;
  const Tensor x0 = clean();
  for (Objective objective : objectives()) {
    SCOPED_TRACE(prediction_type_name(objective.prediction));
    objective.input_perturbation = kGamma;
    const Tensor t = at::arange(kBatch, at::kLong) % objective.schedule.size();
    TrainNoise noise = draw_noise(objective, t, {}, x0.sizes(), step_generator(5, 1, 0));
    const auto perturbed = train_example(objective, x0, noise);
    const Tensor xi = noise.perturbation.to(at::kDouble);
    noise.perturbation = Tensor();
    const auto plain = train_example(objective, x0, noise);
    const Tensor expected = plain.x + noise_share(objective, noise) * kGamma * xi;
    EXPECT_TRUE(at::allclose(perturbed.x.to(at::kDouble), expected, 1e-5, 1e-6));
    EXPECT_TRUE(perturbed.target.equal(plain.target));
    EXPECT_TRUE(perturbed.timesteps.equal(plain.timesteps));
    EXPECT_NEAR(mean_of(xi.square()), 1, 0.02);
  }
}

/// The squared error that the formulas ask for, times the weight, in float64.
Tensor closed_form(const Objective& objective, const Tensor& output, const Tensor& x0,
                   const TrainNoise& noise) {
  const Tensor image = x0.to(at::kDouble), epsilon = noise.epsilon.to(at::kDouble);
  const Tensor abar = abar_of(objective.schedule, noise.t), snr = abar / (1 - abar);
  const bool weighted = objective.min_snr > 0;
  const Tensor capped = snr.clamp_max(objective.min_snr);
  Tensor target = image, weight = capped;
  if (objective.prediction == PredictionType::epsilon) {
    target = epsilon, weight = capped / snr;
  } else if (objective.prediction == PredictionType::v) {
    target = abar.sqrt() * epsilon - (1 - abar).sqrt() * image, weight = capped / (snr + 1);
  } else if (objective.prediction == PredictionType::flow) {
    target = epsilon - image;
  } else if (objective.prediction == PredictionType::rectified_flow) {
    target = image - epsilon;
  }
  const Tensor losses = (output.to(at::kDouble) - target).square();
  return (weighted ? weight * losses : losses).flatten(1).mean(1);
}

TEST(Objective, LossesEqualClosedForms) {
  const Tensor x0 = clean();
  const Tensor output = at::randn(x0.sizes(), step_generator(5, 1, 7), at::kFloat);
  for (Objective objective : objectives())
    for (const double gamma : {0.0, 5.0}) {
      const PredictionType type = objective.prediction;
      if (type == PredictionType::edm || (gamma > 0 && is_flow(type))) continue;
      SCOPED_TRACE(prediction_type_name(type) + " " + std::to_string(gamma));
      objective.min_snr = gamma, objective.input_perturbation = 0.1;
      const Tensor t = at::arange(kBatch, at::kLong) % objective.schedule.size();
      const auto noise = draw_noise(objective, t, {}, x0.sizes(), step_generator(5, 1, 0));
      const Tensor losses = image_losses(objective, output, train_example(objective, x0, noise));
      EXPECT_TRUE(
          at::allclose(losses.to(at::kDouble), closed_form(objective, output, x0, noise), 1e-5, 0));
    }
}

TrainNoise edm_noise(int64_t augmented, at::IntArrayRef sizes) {
  const Objective objective{
      .prediction = PredictionType::edm, .schedule = edm_schedule(), .augmented = augmented};
  return draw_noise(objective, at::zeros({sizes[0]}, at::kLong), {}, sizes,
                    step_generator(5, 1, 0));
}

/// The radius of PFGM++'s noise: R^2 / (sigma^2 D) = B / (1 - B) with B ~ Beta(N / 2, D / 2).
/// Kolmogorov and Smirnov's distance from that law, at a hundred of its quantiles: above
/// 1.95 / sqrt(count) less than once in a thousand times.
TEST(Objective, PfgmppsRadiiFollowTheirLaw) {
  for (const int64_t augmented : {1, 8, 128}) {
    const double d = double(augmented), n = 48;
    const Tensor radii =
        edm_noise(augmented, {kBatch, 3, 4, 4}).epsilon.to(at::kDouble).flatten(1).norm(2, 1);
    for (int k = 1; k < 100; ++k) {
      const double b = beta_quantile(k / 100.0, n / 2, d / 2);
      const Tensor below = (radii < std::sqrt(d * b / (1 - b))).to(at::kDouble);
      EXPECT_NEAR(mean_of(below), k / 100.0, 1.95 / std::sqrt(double(kBatch))) << "D " << augmented;
    }
  }
}

/// All pixels of an image are scaled alike, each image otherwise; at infinite D none is.
TEST(Objective, PfgmppsNoiseHasOneRadiusAnImage) {
  const Tensor normal = edm_noise(0, {kBatch, 3, 4, 4}).epsilon;
  EXPECT_NEAR(mean_of(normal.square()), 1, 0.02);
  const Tensor ratio = edm_noise(8, {kBatch, 3, 4, 4}).epsilon / normal;
  const Tensor most = ratio.flatten(1).amax(1), least = ratio.flatten(1).amin(1);
  EXPECT_TRUE(at::allclose(most, least, 1e-5, 0));
  EXPECT_GT(most.std().item<double>(), 0.1);
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

TEST(Objective, TheBoundIsRescaledOnlyWhereAsked) {
  const Tensor images = wave(3, 0.9), output = wave(6, 1.7, 0.8);
  const auto losses = [&](bool learned, bool rescaled) {
    const Objective objective{
        .schedule = schedule(), .learned_variance = learned, .rescaled_bound = rescaled};
    const auto example =
        train_example(objective, images, {at::arange(6, at::kLong) * 9, {}, {}, wave(3, 1.1), {}});
    return image_losses(objective, learned ? output : output.chunk(2, 1)[0], example);
  };
  const Tensor error = losses(false, false), plain = losses(true, false) - error;
  const double share = double(schedule().size()) / 1000;
  EXPECT_TRUE(at::allclose(losses(true, true) - error, share * plain, 1e-4, 1e-6));
}

/// An epsilon, the v and the x_0 that say the same have the same bound.
TEST(Objective, TheBoundIsTheSameWhateverIsPredicted) {
  const Tensor images = (wave(3, 0.9, 1.2).clamp(-1, 1) * 127.5).round() / 127.5;
  const Tensor t = at::tensor({0, 1, 7, 20, 33, 44}), raw = wave(3, 1.7, 0.8);
  const auto bound_of = [&](PredictionType type, const Tensor& answer) {
    const Objective objective{.prediction = type, .schedule = schedule(), .learned_variance = true};
    const auto example = train_example(objective, images, {t, {}, {}, wave(3, 1.1, 1.4), {}});
    return variational_bound(objective.schedule, type, answer.to(at::kFloat), raw, example);
  };
  const Tensor abar = abar_of(schedule(), t), signal = abar.sqrt(), level = (1 - abar).sqrt();
  const Tensor noise = wave(3, 1.1, 1.4).to(at::kDouble);
  const Tensor x = signal * images + level * noise, epsilon = noise + 0.1 * wave(3, 2.9);
  const Tensor sample = (x - level * epsilon) / signal;
  const Tensor expected = bound_of(PredictionType::epsilon, epsilon);
  const Tensor v = bound_of(PredictionType::v, signal * epsilon - level * sample);
  EXPECT_TRUE(at::allclose(v, expected, 1e-5, 1e-6)) << v << expected;
  EXPECT_TRUE(at::allclose(bound_of(PredictionType::sample, sample), expected, 1e-5, 1e-6));
  EXPECT_GT(expected.min().item<double>(), 1e-4);
}

TEST(Objective, LossesAreFloat32) {
  const Objective objective{.schedule = schedule()};
  const Tensor output = at::tensor({1.0f, 2.0f, 5.0f, 0.0f}).reshape({1, 1, 2, 2});
  TrainExample example{.target = at::zeros_like(output)};
  EXPECT_FLOAT_EQ(image_losses(objective, output, example).item<float>(), 7.5f);
  EXPECT_EQ(image_losses(objective, output.to(at::kBFloat16), example).scalar_type(), at::kFloat);
}

}  // namespace
}  // namespace tiller::test
