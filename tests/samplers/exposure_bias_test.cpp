#include "samplers/exposure_bias.h"

#include "io/error.h"
#include "samplers/clip.h"
#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

Denoiser unbiased_toy(const Options& options, const Trajectory& trajectory,
                      const NoiseSchedule& schedule, bool learned_variance) {
  return unbiased(toy_denoiser(PredictionType::epsilon, learned_variance), options, trajectory,
                  schedule, PredictionType::epsilon);
}

TEST(EpsilonScaling, LoopsAreAdmEs) {
  const auto schedule = guided_diffusion_schedule("linear", 1000);
  for (const Json& test : fixture("exposure_bias.json").at("adm")) {
    SCOPED_TRACE(test.at("options"));
    const Configured chosen(test.at("sampler"), test.at("options"));
    TrajectoryConfig config;
    config.respacing = test.at("respacing");
    const auto trajectory =
        chosen.sampler.trajectory(schedule, with_options(config, chosen.options));
    Denoiser denoise = unbiased_toy(chosen.options, trajectory, schedule, true);
    if (test.at("clip")) denoise = clipped(denoise, ClipMode::recompute_epsilon);
    SineNoise noise;
    const Tensor got = chosen.run(denoise, toy_base(), trajectory, noise);
    EXPECT_LT(relative_error(got, tensor_from(test.at("final"))), 1e-5);
  }
}

TEST(EpsilonScaling, BothSlopesOfHeunAreEdmEs) {
  for (const Json& test : fixture("exposure_bias.json").at("edm")) {
    SCOPED_TRACE(test.at("options"));
    const Configured chosen(test.at("sampler"), test.at("options"));
    auto sigmas = karras_sigmas(test.at("steps"), 0.002, 80);
    sigmas.push_back(0);
    const auto trajectory =
        custom_trajectory(sigmas, [](double sigma) { return 250 * std::log(sigma) + 500; });
    const Denoiser denoise = unbiased_toy(chosen.options, trajectory, {}, false);
    SineNoise noise;
    const Tensor got = chosen.run(denoise, toy_base(at::kDouble) * 80, trajectory, noise);
    EXPECT_LT(relative_error(got, tensor_from(test.at("final"))), 1e-6);  // its noise is float32
  }
}

/// By hand: x_0 = (x - sigma epsilon / lambda) / alpha, lambda = k t + b, t = 0 at the last step.
TEST(EpsilonScaling, LambdaCountsTheStepsLeft) {
  const auto plain = toy_denoiser(PredictionType::v);
  const Denoiser scaled = epsilon_scaled(plain, {1.01, 0.02}, 10);
  const Tensor x = toy_base(at::kDouble);
  for (const int step : {0, 3, 9}) {
    const NoiseLevel level{0.6, 0.8, 500, step};
    const double lambda = 1.01 + 0.02 * (9 - step);
    const Tensor epsilon = plain(x, level).epsilon / lambda;
    const Prediction got = scaled(x, level);
    EXPECT_LT(relative_error(got.epsilon, epsilon.flatten()), 1e-14);
    EXPECT_LT(relative_error(got.sample, ((x - 0.8 * epsilon) / 0.6).flatten()), 1e-14);
  }
}

TEST(TimeShift, TimestepsAreTsDpms) {
  const auto schedule = diffusers_schedule({});
  for (const Json& test : fixture("exposure_bias.json").at("shift")) {
    std::vector<Tensor> images;
    for (const double scale : test.at("scales")) images.push_back(toy_base() * scale);
    const Tensor got =
        timesteps_by_variance(at::cat(images), test.at("t"), test.at("window"), schedule);
    EXPECT_TRUE(got.equal(tensor_from(test.at("timesteps")))) << test.at("t") << got;
  }
}

/// What the network is told at each of a run's steps.
std::vector<Tensor> told(const std::string& name, const std::string& options, const Tensor& x) {
  const auto schedule = diffusers_schedule({});
  const Configured chosen(name, options);
  TrajectoryConfig config;
  config.steps = 10;
  const auto trajectory = chosen.sampler.trajectory(schedule, with_options(config, chosen.options));
  std::vector<Tensor> timesteps;
  const Denoiser toy = [&](const Tensor& state, const NoiseLevel& level) {
    timesteps.push_back(level.timesteps.defined()
                            ? level.timesteps
                            : at::full({state.size(0)}, level.timestep, at::kDouble));
    return toy_denoiser(PredictionType::epsilon)(state, level);
  };
  SineNoise noise;
  chosen.run(unbiased(toy, chosen.options, trajectory, schedule, PredictionType::epsilon),
             x * trajectory.initial_scale, trajectory, noise);
  return timesteps;
}

TEST(TimeShift, EachImageHasItsOwnTimeAboveTheCutoff) {
  const Tensor x = at::cat({toy_base(), 0.3 * toy_base()});
  const auto plain = told("ddim", "", x);
  const auto shifted = told("ddim", "time_shift=80,time_shift_cutoff=350", x);
  bool apart = false;
  for (size_t step = 0; step < plain.size(); ++step) {
    const double moved = (shifted[step] - plain[step]).abs().max().item<double>();
    const bool fixed = step == 0 || plain[step][0].item<double>() <= 350;
    EXPECT_LE(moved, fixed ? 0 : 40) << step;
    apart = apart || !shifted[step][0].equal(shifted[step][1]);
  }
  EXPECT_TRUE(apart);
}

/// k-diffusion's states are brought to the variance preserving scale first.
TEST(TimeShift, ScaleDoesNotCount) {
  const auto schedule = diffusers_schedule({});
  const Denoiser plain = toy_denoiser(PredictionType::epsilon);
  for (const double scale : {1.0, 5.0}) {
    Tensor seen;
    const Denoiser denoise = time_shifted(
        [&](const Tensor& x, const NoiseLevel& level) {
          seen = level.timesteps;
          return plain(x, level);
        },
        {80, 0}, schedule, PredictionType::epsilon);
    const double alpha = std::sqrt(schedule.alphas_cumprod[500]);
    denoise(0.78 * scale * toy_base(),
            {scale * alpha, scale * std::sqrt(1 - alpha * alpha), 500, 1});
    EXPECT_TRUE(seen.equal(timesteps_by_variance(0.78 * toy_base(), 500, 80, schedule)));
  }
}

/// A network of each type that answers exactly at the time that it is told says the same epsilon.
TEST(TimeShift, AnswersMeanWhatTheyDoAtTheTimeTold) {
  const auto schedule = diffusers_schedule({});
  const Tensor x = at::cat({0.79 * toy_base(at::kDouble), 0.75 * toy_base(at::kDouble)});
  const double scale = 3, alpha = scale * std::sqrt(schedule.alphas_cumprod[500]);
  const NoiseLevel level{alpha, std::sqrt(scale * scale - alpha * alpha), 500, 1};
  const auto epsilon_of = [&](PredictionType type) {
    const Denoiser network = [&](const Tensor& state, const NoiseLevel& told) {
      std::vector<double> abars;
      for (int row = 0; row < 2; ++row)
        abars.push_back(schedule.alphas_cumprod[int64_t(told.timesteps[row].item<double>())]);
      const Tensor abar = at::tensor(abars, at::kDouble).view({2, 1, 1, 1});
      const Tensor input = state / scale, epsilon = (2 * input).cos();
      const Tensor sample = (input - (1 - abar).sqrt() * epsilon) / abar.sqrt();
      const Tensor v = abar.sqrt() * epsilon - (1 - abar).sqrt() * sample;
      const Tensor output = type == PredictionType::epsilon ? epsilon
                            : type == PredictionType::v     ? v
                                                            : sample;
      return to_prediction(output, state, told, type);
    };
    const Prediction p = time_shifted(network, {80, 0}, schedule, type)(scale * x, level);
    const Tensor whole = level.alpha * p.sample + level.sigma * p.epsilon;
    EXPECT_LT(relative_error(whole, (scale * x).flatten()), 1e-12);
    return p.epsilon;
  };
  for (const auto type : {PredictionType::epsilon, PredictionType::v, PredictionType::sample})
    EXPECT_LT(relative_error(epsilon_of(type), (2 * x).cos().flatten()), 1e-10);
}

TEST(ExposureBias, RefusesWhatHasNoMeaning) {
  const auto refuses = [](const std::string& options, PredictionType type, bool zero_snr) {
    BetaTable table;
    table.zero_terminal_snr = zero_snr;
    const auto schedule = is_flow(type) ? flow_schedule(type) : diffusers_schedule(table);
    const Configured chosen("ddim", "spacing=trailing," + options);
    const auto trajectory = chosen.sampler.trajectory(schedule, with_options({}, chosen.options));
    EXPECT_THROW(unbiased(toy_denoiser(type), chosen.options, trajectory, schedule, type),
                 UsageError)
        << options;
  };
  refuses("epsilon_scaling=1.01", PredictionType::flow, false);
  refuses("epsilon_scaling=1.01", PredictionType::v, true);
  refuses("epsilon_scaling=-1", PredictionType::epsilon, false);
  refuses("epsilon_scaling_slope=-0.5", PredictionType::epsilon, false);
  refuses("time_shift=40", PredictionType::epsilon, false);          // no cutoff
  refuses("time_shift_cutoff=300", PredictionType::epsilon, false);  // no shift
  refuses("time_shift=-4,time_shift_cutoff=300", PredictionType::epsilon, false);
  refuses("time_shift=40,time_shift_cutoff=300", PredictionType::flow, false);
}

TEST(ExposureBias, DefaultsChangeNothing) {
  const auto schedule = diffusers_schedule({});
  const Configured chosen("ddim", "");
  const auto trajectory = chosen.sampler.trajectory(schedule, with_options({}, chosen.options));
  const Tensor x = toy_base();
  const NoiseLevel& level = trajectory.levels[3];
  const Prediction plain = toy_denoiser(PredictionType::epsilon)(x, level),
                   got = unbiased_toy(chosen.options, trajectory, schedule, false)(x, level);
  EXPECT_TRUE(got.sample.tensor().equal(plain.sample) && got.epsilon.tensor().equal(plain.epsilon));
}

}  // namespace
}  // namespace tiller::test
