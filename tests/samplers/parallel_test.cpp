#include "samplers/parallel.h"

#include "io/error.h"
#include "samplers/defaults.h"
#include "tests/samplers/toy.h"

namespace tiller::test {
namespace {

/// A run by both ways.
struct Bench {
  Configured sampler;
  Trajectory trajectory;
  Denoiser denoise = toy_denoiser(PredictionType::epsilon, true);
  std::vector<uint64_t> seeds = {3, 4};

  Bench(const std::string& name, const std::string& options, int steps) : sampler(name, options) {
    const NoiseSchedule schedule = guided_diffusion_schedule("linear", 1000, false);
    TrajectoryConfig config = default_trajectory_config(schedule);
    config.steps = steps;
    trajectory = sampler.sampler.trajectory(schedule, with_options(config, sampler.options));
  }

  Tensor start(NoiseSource& noise) const {
    return initial_noise(noise, {int64_t(seeds.size()), 3, 4, 4}) * trajectory.initial_scale;
  }

  std::vector<Tensor> sequential() const {
    SeededNoise noise(seeds);
    Recorder recorder;
    const Tensor x = start(noise);
    sampler.run(denoise, x, trajectory, noise, recorder.observer());
    return recorder.samples;
  }

  std::vector<Tensor> parallel(const std::string& text) {
    SeededNoise noise(seeds);
    Recorder recorder;
    sweeps = evaluations = widest = 0;
    const WindowDenoiser window = [&](std::span<const Tensor> x,
                                      std::span<const NoiseLevel> levels) {
      ++sweeps;
      evaluations += int(x.size());
      widest = std::max(widest, int(x.size()));
      std::vector<Prediction> all;
      for (size_t i = 0; i < x.size(); ++i) all.push_back(denoise(x[i], levels[i]));
      return all;
    };
    const Tensor x = start(noise);
    const Tensor last =
        sample_parallel(window, x, trajectory, sampler.sampler, sampler.options, noise,
                        parallel_options(text, trajectory.steps()), recorder.observer());
    EXPECT_TRUE(at::equal(last, recorder.samples.back()));
    return recorder.samples;
  }

  int sweeps = 0, evaluations = 0, widest = 0;
};

double furthest(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  EXPECT_EQ(a.size(), b.size());
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i)
    most = std::max(most, relative_error(a[i], b[i].to(at::kDouble)));
  return most;
}

const std::vector<std::pair<std::string, std::string>> kSamplers = {
    {"ddim", ""},  {"ddim", "eta=1"}, {"ddpm", ""}, {"ddpm", "variance=fixed_large"},
    {"euler", ""}, {"euler-a", ""},   {"lcm", ""},  {"tcd", "eta=0.3"}};
const std::vector<std::string> kMethods = {"picard", "jacobi", "gauss-seidel", "taa",
                                           "taa:order=1,memory=1"};

/// Without a tolerance sweeps go on until nothing changes, at most one a step.
TEST(Parallel, ConvergedEqualsSequential) {
  for (const auto& [name, options] : kSamplers)
    for (const auto& method : kMethods)
      for (const std::string window : {"0", "5"}) {
        const std::string text = method + (method.find(':') == std::string::npos ? ":" : ",") +
                                 "tolerance=0,window=" + window;
        SCOPED_TRACE(name + " " + options + " " + text);
        Bench bench(name, options, 20);
        const auto expected = bench.sequential();
        EXPECT_LT(furthest(bench.parallel(text), expected), 1e-5);
        EXPECT_LE(bench.sweeps, 20);
        EXPECT_LE(bench.widest, window == "5" ? 5 : 20);
      }
}

/// A window of one step is sequential sampling, to the bit.
TEST(Parallel, WindowOfOneIsSequential) {
  for (const auto& [name, options] : kSamplers) {
    Bench bench(name, options, 12);
    const auto expected = bench.sequential();
    for (const auto& method : {"picard:window=1", "jacobi:window=1", "gauss-seidel:window=1"}) {
      const auto got = bench.parallel(method);
      for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(at::equal(got[i], expected[i])) << name;
      EXPECT_EQ(bench.sweeps, 12);
      EXPECT_EQ(bench.evaluations, 12);
    }
  }
}

TEST(Parallel, ToleranceSavesSweepsAndBoundsTheDifference) {
  for (const auto& [name, options] : kSamplers) {
    Bench bench(name, options, 50);
    const auto expected = bench.sequential();
    for (const std::string method : {"picard:tolerance=", "taa:tolerance="}) {
      SCOPED_TRACE(name + " " + options + " " + method);
      const auto roughly = bench.parallel(method + "0.1");
      EXPECT_LE(bench.sweeps, 26);
      EXPECT_LT(furthest(roughly, expected), 0.03);
      EXPECT_LT(furthest(bench.parallel(method + "0.001"), expected), 0.0005);
      EXPECT_LT(bench.sweeps, 50);
    }
  }
}

TEST(Parallel, ComesOutAlikeTwice) {
  Bench bench("ddim", "eta=0.5", 30);
  for (const auto& method : kMethods) {
    const auto first = bench.parallel(method), second = bench.parallel(method);
    for (size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(at::equal(first[i], second[i]));
  }
}

std::string refusal(const std::string& sampler, const std::string& options) {
  const Configured chosen(sampler, options);
  try {
    require_one_step(chosen.sampler, chosen.options);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(Parallel, RefusesSamplersByName) {
  for (const std::string name :
       {"heun", "dpm++2m", "unipc", "pndm", "lms", "bdia", "dpm++sde", "dpm2-a", "deis"}) {
    const std::string error = refusal(name, "");
    EXPECT_NE(error.find("got sampler " + name), std::string::npos) << error;
    EXPECT_NE(error.find("expected one of ddim"), std::string::npos) << error;
  }
  EXPECT_NE(refusal("euler", "s_churn=4").find("s_churn 4"), std::string::npos);
  EXPECT_EQ(refusal("euler", ""), "");
}

std::string parallel_complaint(const std::string& text) {
  try {
    parallel_options(text, 10);
  } catch (const UsageError& error) {
    return error.what();
  }
  return "";
}

TEST(Parallel, ReadsOptions) {
  EXPECT_EQ(parallel_options("picard:window=0", 40).window, 40);
  EXPECT_EQ(parallel_options("taa:window=64", 40).window, 40);
  EXPECT_NE(parallel_complaint("picrad").find("picard"), std::string::npos);
  EXPECT_NE(parallel_complaint("jacobi:order=3").find("order"), std::string::npos);
  EXPECT_NE(parallel_complaint("taa:window=-1").find("window"), std::string::npos);
  EXPECT_NE(parallel_complaint("picard:tolerance=nan").find("tolerance"), std::string::npos);
}

}  // namespace
}  // namespace tiller::test
