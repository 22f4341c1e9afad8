#pragma once
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "samplers/registry.h"
#include "tests/fixture.h"

namespace tiller::test {

/// The network that the fixtures were made with: its raw output for a scaled input.
inline Tensor toy_output(const Tensor& input, double t) {
  return 0.3 * input + 0.2 * (input + 0.002 * t).sin();
}

inline Denoiser toy_denoiser(PredictionType type, bool learned_variance = false) {
  return [=](const Tensor& x, const NoiseLevel& level) {
    const Tensor input = x * input_scale(level, type);
    Prediction p = to_prediction(toy_output(input, level.timestep), x, level, type);
    if (learned_variance) p.variance = (1.7 * input + 0.003 * level.timestep).sin();
    return p;
  };
}

/// The fixtures' noise: draw k is 1.2 sin(1.3 (k + 1) + 0.7 j).
class SineNoise final : public NoiseSource {
 public:
  Tensor draw(const Tensor& like) override {
    ++draws;
    const Tensor j = at::arange(like.numel(), at::kDouble);
    return (1.2 * (1.3 * draws + 0.7 * j).sin()).reshape(like.sizes()).to(like.options());
  }
  int draws = 0;
};

/// The fixtures' input, (1, 2, 2, 2).
inline Tensor toy_base(at::ScalarType type = at::kFloat) {
  return (at::arange(8, type) * 0.5 - 1.75).reshape({1, 2, 2, 2});
}

/// The largest difference in units of the largest expected value.
inline double relative_error(const Tensor& got, const Tensor& expected) {
  const Tensor difference = got.to(at::kDouble).flatten() - expected.flatten();
  return difference.abs().max().item<double>() / expected.abs().max().item<double>();
}

/// Keeps the sample after each step.
struct Recorder {
  std::vector<Tensor> samples;
  Observer observer() {
    return [this](const StepReport& report) {
      if (!report.within) samples.push_back(report.sample);
    };
  }
};

/// A sampler with options as written after "NAME:".
struct Configured {
  const Sampler& sampler;
  Options options;
  Configured(const std::string& name, const std::string& text)
      : sampler(find_sampler(name)), options(parse_options("sampler", text, sampler.options)) {}

  Tensor run(const Denoiser& denoise, const Tensor& x, const Trajectory& trajectory,
             NoiseSource& noise, const Observer& observer = {}) const {
    return sampler.run(denoise, x, trajectory, options, noise, observer);
  }
};

}  // namespace tiller::test
