#include "guidance/space.h"

#include <ATen/ATen.h>

namespace tiller {

Option space_option(const std::string& value) {
  return {"space", value, "raw: the network's outputs; sample: estimates of x_0"};
}

Space space_from(const Options& options) {
  return options.choice("space", {"raw", "sample"}) == "raw" ? Space::raw : Space::sample;
}

Tensor into(Space space, const GuidanceStep& step, const Tensor& output) {
  if (space == Space::raw) return output;
  return to_prediction(output, step.x.to(at::kFloat), step.level, step.prediction).sample;
}

Tensor difference_from(Space space, const GuidanceStep& step, const Tensor& difference) {
  if (space == Space::raw || step.prediction == PredictionType::sample) return difference;
  const NoiseLevel& level = step.level;
  if (step.prediction == PredictionType::epsilon) return difference * (-level.alpha / level.sigma);
  if (step.prediction == PredictionType::edm)
    return difference / edm_preconditioning(level.sigma / level.alpha).out;
  const double sign = step.prediction == PredictionType::rectified_flow ? 1 : -1;
  return difference / (sign * level.sigma * input_scale(level, step.prediction));
}

Tensor image_dot(const Tensor& a, const Tensor& b) {
  const auto wide = [](const Tensor& x) { return x.to(at::kDouble).flatten(1); };
  return (wide(a) * wide(b)).sum(1).reshape({-1, 1, 1, 1});
}

}  // namespace tiller
