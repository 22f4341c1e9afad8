#include "samplers/straightness.h"

#include <ATen/ATen.h>

namespace tiller {
namespace {

double line_scale(const NoiseLevel& level) { return input_scale(level, PredictionType::flow); }

Tensor square_norm(const Tensor& x) { return x.flatten(1).square().sum(1); }

}  // namespace

Straightness::Straightness(const Tensor& x, const Trajectory& trajectory) {
  const NoiseLevel& first = trajectory.levels.front();
  start_ = end_ = x.to(at::kDouble) * line_scale(first);
  sigma_ = first.sigma * line_scale(first);
}

void Straightness::add(const StepReport& report) {
  const double scale = line_scale(report.level), sigma = report.level.sigma * scale;
  const double time = sigma_ - sigma;
  const Tensor v = (report.prediction.sample - report.prediction.epsilon).tensor().to(at::kDouble);
  velocity_ = velocity_.defined() ? velocity_ + time * v : time * v;
  const Tensor square = time * square_norm(v);
  square_ = square_.defined() ? square_ + square : square;
  end_ = report.sample.to(at::kDouble) * scale;
  time_ += time;
  sigma_ = sigma;
}

Tensor Straightness::measure() const {
  if (!square_.defined()) return at::zeros({start_.size(0)}, at::kDouble);
  const Tensor rate = time_ > 0 ? (end_ - start_) / time_ : end_ - start_;
  return square_ - 2 * (rate * velocity_).flatten(1).sum(1) + time_ * square_norm(rate);
}

}  // namespace tiller
