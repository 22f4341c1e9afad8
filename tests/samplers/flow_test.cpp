/// Flow matching and rectified flow.
#include "io/error.h"
#include "samplers/scheduler_config.h"
#include "samplers/straightness.h"
#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

/// The exact velocity for data from N(mean, std^2) on lines x = (1 - sigma) x_0 + sigma epsilon.
struct GaussianFlow {
  double mean = 0.7, std = 0.4;

  double spread(double sigma) const { return std::hypot((1 - sigma) * std, sigma); }
  Tensor velocity(const Tensor& x, double sigma) const {
    const double gain = (1 - sigma) * std * std / std::pow(spread(sigma), 2);
    const Tensor sample = mean + gain * (x - (1 - sigma) * mean);
    return sigma > 0 ? (x - sample) / sigma : -sample;
  }
  /// Where the flow takes x from sigma: each point keeps its place in the distribution.
  Tensor end(const Tensor& x, double sigma = 1) const {
    return mean + std * (x - (1 - sigma) * mean) / spread(sigma);
  }

  /// As a network of either type that is told the time.
  Denoiser denoiser(PredictionType type) const {
    return [*this, type](const Tensor& x, const NoiseLevel& level) {
      const double sigma = flow_sigma_told(type, level.timestep);
      const Tensor v = velocity(x * input_scale(level, type), sigma);
      return to_prediction(type == PredictionType::flow ? v : -v, x, level, type);
    };
  }
  static double flow_sigma_told(PredictionType type, double timestep) {
    return type == PredictionType::flow ? timestep / 1000 : 1 - timestep / 999;
  }
};

Tensor run_flow(const std::string& name, const std::string& options, int steps, PredictionType type,
                double* scale = nullptr) {
  const Configured chosen(name, options);
  TrajectoryConfig config;
  config.steps = steps;
  const auto trajectory =
      chosen.sampler.trajectory(flow_schedule(type), with_options(config, chosen.options));
  if (scale) *scale = trajectory.initial_scale;
  SineNoise noise;
  return chosen.run(GaussianFlow{}.denoiser(type), toy_base(at::kDouble) * trajectory.initial_scale,
                    trajectory, noise);
}

/// Sigma on the line where a run begins.
double first_sigma(const std::string& name, PredictionType type) {
  const NoiseLevel first = find_sampler(name).trajectory(flow_schedule(type), {}).levels.front();
  return first.sigma / (first.alpha + first.sigma);
}

/// From where the flow takes the same start.
double flow_error(const std::string& name, const std::string& options, int steps,
                  PredictionType type) {
  const Tensor exact = GaussianFlow{}.end(toy_base(at::kDouble), first_sigma(name, type));
  return relative_error(run_flow(name, options, steps, type), exact.flatten());
}

TEST(Flow, PredictionsGiveBackBothEndsOfTheLine) {
  const Tensor sample = toy_base(at::kDouble), noise = (3 * sample).cos();
  for (const NoiseLevel& level : {NoiseLevel{0.3, 0.7}, NoiseLevel{1, 2.5}, NoiseLevel{0.6, 0.8}}) {
    const Tensor x = level.alpha * sample + level.sigma * noise;
    for (const auto type : {PredictionType::flow, PredictionType::rectified_flow}) {
      const Tensor output = type == PredictionType::flow ? noise - sample : sample - noise;
      const Prediction p = to_prediction(output, x, level, type);
      EXPECT_LT(relative_error(p.sample, sample.flatten()), 1e-12);
      EXPECT_LT(relative_error(p.epsilon, noise.flatten()), 1e-12);
    }
  }
}

TEST(Flow, TimesAreThoseOfTheOriginals) {
  EXPECT_EQ(flow_timestep(PredictionType::flow, 0.25), 250);
  EXPECT_EQ(flow_timestep(PredictionType::rectified_flow, 0.25), 999 * 0.75);
  const auto schedule = flow_schedule(PredictionType::flow, 1000, 3);
  for (const double t : {0.0, 17.0, 999.0})
    EXPECT_NEAR(schedule.table_timestep(schedule.network_timestep(t)), t, 1e-9);
  EXPECT_EQ(schedule.alphas_cumprod.back(), 0);
}

/// FlowMatchEulerDiscreteScheduler's and FlowMatchHeunDiscreteScheduler's own trajectories.
TEST(Flow, DiffusersTrajectoriesAreTheSame) {
  for (const Json& test : fixture("flow.json").at("cases")) {
    SCOPED_TRACE(test.at("config").dump() + " " + test.at("options").dump());
    const auto setup = read_scheduler_config(test.at("config"));
    const Sampler& sampler = find_sampler(configured_sampler(setup));
    const auto options =
        parse_options("sampler", test.at("options"), configured_options(setup, sampler));
    const auto trajectory = sampler.trajectory(configured_schedule(setup, sampler),
                                               with_options({test.at("steps")}, options));
    std::vector<double> timesteps;
    const auto toy = toy_denoiser(setup.prediction);
    const Denoiser denoise = [&](const Tensor& x, const NoiseLevel& level) {
      timesteps.push_back(level.timestep);
      return toy(x, level);
    };
    SineNoise noise;
    Recorder recorder;
    sampler.run(denoise, toy_base() * trajectory.initial_scale, trajectory, options, noise,
                recorder.observer());
    ASSERT_EQ(timesteps.size(), test.at("timesteps").size());
    for (size_t i = 0; i < timesteps.size(); ++i)
      EXPECT_NEAR(timesteps[i], test.at("timesteps")[i].get<double>(), 2e-3);
    EXPECT_LT(relative_error(recorder.samples.front(), tensor_from(test.at("first"))), 1e-5);
    EXPECT_LT(relative_error(recorder.samples.back(), tensor_from(test.at("final"))), 1e-5);
  }
}

/// x + v(x, 999 t) / N at t = i (1 - 1e-3) / N + 1e-3, as the authors' Euler sampler goes.
TEST(Flow, RectifiedFlowsEulerIsTheAuthors) {
  const int steps = 7;
  const auto type = PredictionType::rectified_flow;
  Tensor x = toy_base(at::kDouble);
  for (int i = 0; i < steps; ++i) {
    const double t = double(i) / steps * (1 - 1e-3) + 1e-3;
    x = x - GaussianFlow{}.velocity(x, GaussianFlow::flow_sigma_told(type, 999 * t)) / steps;
  }
  EXPECT_LT(relative_error(run_flow("euler", "", steps, type), x.flatten()), 1e-12);
}

TEST(Flow, RectifiedFlowsBeginAtTheFirstTimeThatTheyKnow) {
  const auto type = PredictionType::rectified_flow;
  EXPECT_EQ(first_sigma("euler", type), 1);
  EXPECT_DOUBLE_EQ(first_sigma("heun", type), 0.999);
  EXPECT_DOUBLE_EQ(first_sigma("lms", type), 0.999);
  EXPECT_EQ(first_sigma("heun", PredictionType::flow), 1);
}

struct FlowOrder {
  std::string name, options;
  double order;
  PredictionType type;
};

/// Not of rectified flows by Euler's method, as whose network is told other times than the state's.
TEST(Flow, OrdersOfConvergence) {
  const auto flow = PredictionType::flow, rectified = PredictionType::rectified_flow;
  for (const auto& [name, options, order, type] :
       std::vector<FlowOrder>{{"euler", "", 1, flow},
                              {"heun", "", 2, flow},
                              {"dpm++2s-a", ",eta=0", 2, flow},
                              {"ipndm", ",order=2", 2, flow},
                              {"ddim", "", 1, flow},
                              {"lms", ",order=2", 2, flow},
                              {"heun", "", 2, rectified},
                              {"ddim", "", 1, rectified},
                              {"lms", ",order=2", 2, rectified}}) {
    const double coarse = flow_error(name, "spacing=trailing" + options, 200, type);
    const double fine = flow_error(name, "spacing=trailing" + options, 400, type);
    EXPECT_NEAR(std::log2(coarse / fine), order, 0.25) << name << " " << coarse << " " << fine;
  }
}

/// DDIM's step between a flow's levels is Euler's: the scale of x cancels.
TEST(Flow, DdimIsEuler) {
  const Tensor euler = run_flow("euler", "spacing=trailing", 10, PredictionType::flow);
  EXPECT_LT(relative_error(run_flow("ddim", "", 10, PredictionType::flow), euler.flatten()), 1e-12);
}

TEST(Flow, OtherSamplersTakeFlows) {
  for (const std::string name :
       {"dpm++2m", "unipc", "lms", "deis", "dpm++3s", "dpm2", "sa-solver", "ddpm", "euler-a"}) {
    const Tensor end = run_flow(name, "", 40, PredictionType::flow);
    const double error = relative_error(end, GaussianFlow{}.end(toy_base(at::kDouble)).flatten());
    if (name != "ddpm" && name != "euler-a" && name != "sa-solver") {
      EXPECT_LT(error, 0.02) << name;
    }
    EXPECT_TRUE(end.isfinite().all().item<bool>()) << name;
  }
}

/// Where the flow's velocity is a point's own displacement, paths are straight: S is 0.
TEST(Straightness, StraightPathsHaveNone) {
  const Tensor target = at::ones({1, 2, 2, 2}, at::kDouble) * 0.3;
  const Denoiser denoise = [&](const Tensor& x, const NoiseLevel& level) {
    return Prediction{target, (x - level.alpha * target) / level.sigma, {}, {}};
  };
  for (const auto& [name, type] : {std::pair{"euler", PredictionType::flow},
                                   {"heun", PredictionType::flow},
                                   {"heun", PredictionType::rectified_flow},
                                   {"ddim", PredictionType::flow}}) {
    const Configured chosen(name, "spacing=trailing");
    const auto trajectory =
        chosen.sampler.trajectory(flow_schedule(type), with_options({}, chosen.options));
    SineNoise noise;
    Straightness straightness(toy_base(at::kDouble), trajectory);
    chosen.run(denoise, toy_base(at::kDouble), trajectory, noise,
               [&](const StepReport& report) { straightness.add(report); });
    EXPECT_LT(straightness.measure().abs().max().item<double>(), 1e-12) << name;
  }
}

/// Two steps by hand: velocities 1 and 3 of equal time, displacement 2, S = 1 a number.
TEST(Straightness, IsTheMeanSquareOverTime) {
  const Trajectory trajectory{{{0, 1}, {0.5, 0.5}, {1, 0}}};
  const Tensor start = at::zeros({2, 1, 1, 4}, at::kDouble);
  Straightness straightness(start, trajectory);
  Tensor x = start;
  for (int step = 0; step < 2; ++step) {
    const Tensor v = at::full_like(x, step == 0 ? 1 : 3);
    x = x + 0.5 * v;
    const Prediction p{v, at::zeros_like(v), {}, {}};
    straightness.add({step, 2, trajectory.levels[step + 1], x, p});
  }
  EXPECT_LT(relative_error(straightness.measure(), at::full({2}, 4.0, at::kDouble)), 1e-12);
}

TEST(Flow, RefusesWhatHasNoMeaning) {
  const auto flow = PredictionType::flow;
  for (const std::string name : {"euler", "dpm2"})
    EXPECT_THROW(run_flow(name, "s_churn=5", 4, flow), UsageError);
  EXPECT_THROW(run_flow("euler", "spacing=leading", 4, flow), UsageError);
  EXPECT_THROW(run_flow("euler", "sigmas=ays-sdxl", 4, flow), UsageError);
  const Configured shifted("euler", "shift=3");
  EXPECT_THROW(
      shifted.sampler.trajectory(diffusers_schedule({}), with_options({}, shifted.options)),
      UsageError);
}

}  // namespace
}  // namespace tiller::test
