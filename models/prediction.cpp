#include "models/prediction.h"

#include <cmath>

#include "io/error.h"

namespace tiller {

PredictionType prediction_type_from(const std::string& name) {
  if (name == "epsilon") return PredictionType::epsilon;
  if (name == "v_prediction" || name == "v") return PredictionType::v;
  if (name == "sample") return PredictionType::sample;
  throw Error("prediction_type: got '" + name + "', expected epsilon, v_prediction or sample.");
}

double input_scale(const NoiseLevel& level) {
  const double norm = level.alpha * level.alpha + level.sigma * level.sigma;
  return std::abs(norm - 1) < 1e-12 ? 1 : 1 / std::sqrt(norm);
}

Prediction to_prediction(const Tensor& output, const Tensor& x, const NoiseLevel& level,
                         PredictionType type) {
  const double scale = input_scale(level);
  const double alpha = level.alpha * scale, sigma = level.sigma * scale;
  const Tensor input = scale == 1 ? x : x * scale;
  switch (type) {
    case PredictionType::epsilon:
      return {(input - sigma * output) / alpha, output, {}, {}};
    case PredictionType::v:
      return {alpha * input - sigma * output, alpha * output + sigma * input, {}, {}};
    case PredictionType::sample:
      return {output, (input - alpha * output) / sigma, {}, {}};
  }
  return {};
}

}  // namespace tiller
