#include "models/prediction.h"

#include <cmath>

#include "io/error.h"

namespace tiller {

PredictionType prediction_type_from(const std::string& name) {
  if (name == "epsilon") return PredictionType::epsilon;
  if (name == "v_prediction" || name == "v") return PredictionType::v;
  if (name == "sample") return PredictionType::sample;
  if (name == "flow" || name == "flow_prediction") return PredictionType::flow;
  if (name == "rectified_flow") return PredictionType::rectified_flow;
  if (name == "edm") return PredictionType::edm;
  throw Error("prediction_type: got '" + name +
              "', expected epsilon, v_prediction, sample, flow, rectified_flow or edm.");
}

std::string prediction_type_name(PredictionType type) {
  switch (type) {
    case PredictionType::epsilon:
      return "epsilon";
    case PredictionType::v:
      return "v_prediction";
    case PredictionType::sample:
      return "sample";
    case PredictionType::flow:
      return "flow";
    case PredictionType::rectified_flow:
      return "rectified_flow";
    case PredictionType::edm:
      return "edm";
  }
  return "";
}

bool is_flow(PredictionType type) {
  return type == PredictionType::flow || type == PredictionType::rectified_flow;
}

double flow_timestep(PredictionType type, double sigma, int64_t timesteps) {
  const auto whole = static_cast<double>(timesteps);
  return type == PredictionType::rectified_flow ? (whole - 1) * (1 - sigma) : whole * sigma;
}

EdmPreconditioning edm_preconditioning(double sigma) {
  const double norm = std::hypot(sigma, edm_sigma_data);
  return {edm_sigma_data * edm_sigma_data / (norm * norm), sigma * edm_sigma_data / norm, 1 / norm};
}

double edm_timestep(double sigma) { return std::log(sigma) / 4; }

double input_scale(const NoiseLevel& level, PredictionType type) {
  if (type == PredictionType::edm)
    return edm_preconditioning(level.sigma / level.alpha).in / level.alpha;
  const double norm = is_flow(type)
                          ? level.alpha + level.sigma
                          : std::sqrt(level.alpha * level.alpha + level.sigma * level.sigma);
  return std::abs(norm - 1) < 1e-12 ? 1 : 1 / norm;
}

namespace {

Prediction edm_prediction(const Combination& output, const Tensor& x, const NoiseLevel& level) {
  const double sigma = level.sigma / level.alpha;
  const EdmPreconditioning by = edm_preconditioning(sigma);
  const Combination noisy = Combination(x) / level.alpha;
  const Combination sample = by.skip * noisy + by.out * output;
  return {sample, (noisy - sample) / sigma, {}, {}};
}

}  // namespace

Prediction to_prediction(const Combination& output, const Tensor& x, const NoiseLevel& level,
                         PredictionType type) {
  if (type == PredictionType::edm) return edm_prediction(output, x, level);
  const double scale = input_scale(level, type);
  const double alpha = level.alpha * scale, sigma = level.sigma * scale;
  const Combination input = scale * Combination(x);
  switch (type) {
    case PredictionType::epsilon:
      return {(input - sigma * output) / alpha, output, {}, {}};
    case PredictionType::v:
      return {alpha * input - sigma * output, alpha * output + sigma * input, {}, {}};
    case PredictionType::sample:
      return {output, (input - alpha * output) / sigma, {}, {}};
    case PredictionType::flow:
      return {input - sigma * output, input + alpha * output, {}, {}};
    case PredictionType::rectified_flow:
      return {input + sigma * output, input - alpha * output, {}, {}};
    case PredictionType::edm:
      break;
  }
  return {};
}

}  // namespace tiller
