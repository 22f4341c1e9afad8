#include <ATen/ATen.h>

#include <cmath>

#include "guidance/draw.h"
#include "guidance/registry.h"
#include "io/error.h"

namespace tiller {
namespace {

constexpr uint32_t kTimeStream = 3;

/// e + n s t^a std(e), with n standard normal and t the timestep in units of 1000.
class NoisyTime final : public Perturbation {
 public:
  explicit NoisyTime(double noise, double power, int64_t width)
      : noise_(noise), power_(power), width_(width) {}
  Kind kind() const override { return Kind::time; }
  bool acts_at(const Site&) const override { return false; }

  void prepare(const StepContext& step, double timestep) {
    const double size = noise_ * std::pow(timestep / 1000, power_);
    drawn_ = size * step_noise(step, kTimeStream, {width_});
  }

  Tensor time(const Tensor& embedding) const override {
    const Tensor wide = embedding.to(at::kFloat);
    return (wide + drawn_ * wide.std(1, /*unbiased=*/true, /*keepdim=*/true))
        .to(embedding.scalar_type());
  }

 private:
  double noise_, power_;
  int64_t width_;
  Tensor drawn_;
};

/// Time-Step Guidance, arXiv 2407.02687: away from the prediction for a perturbed time embedding.
class TimeStep final : public Guidance {
 public:
  TimeStep(double scale, NoisyTime rule) : scale_(scale), rule_(std::move(rule)) {}

  void begin_step(const GuidanceStep& step) override {
    if (scale_ != 1) rule_.prepare(step.context, step.level.timestep);
  }
  std::vector<Request> requests(const GuidanceStep& step,
                                std::span<const Tensor> answers) override {
    if (scale_ == 1 || !answers.empty()) return {};
    return {{.branch = {step.positive, &rule_}}};
  }
  Combination delta(const GuidanceStep&, std::span<const Tensor> answers) override {
    if (scale_ == 1) return {};
    return (scale_ - 1) * difference(answers[0], answers[1]);
  }

 private:
  double scale_;
  NoisyTime rule_;
};

std::unique_ptr<Guidance> make_tsg(const Options& options, GuidanceContext context) {
  const int64_t width = context.model.network->time_channels();
  if (width == 0)
    throw UsageError("got a network without a time embedding, expected one that has it.");
  const NoisyTime rule(options.number("noise", 0), options.number("power", 0), width);
  return std::make_unique<TimeStep>(options.number("scale"), rule);
}

}  // namespace

GuidanceEntry tsg_guidance() {
  return {.name = "tsg",
          .description = "Time step: away from the prediction for a noisy time embedding",
          .paper = "2407.02687",
          .options = {{"scale", "4", "guidance scale; 1: off"},
                      {"noise", "3", "of the embedding, in units of its standard deviation"},
                      {"power", "0.25", "the noise falls as this power of the timestep"},
                      {"to", "0.6", "share of the steps after which it stops"}},
          .make = make_tsg};
}

}  // namespace tiller
