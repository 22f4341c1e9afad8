#pragma once
#include <functional>
#include <string>

#include "models/combination.h"

namespace tiller {

/// A point on the noise scale, where a sample reads x = alpha x_0 + sigma epsilon.
/// Variance preserving samplers have alpha^2 + sigma^2 = 1, k-diffusion's have alpha = 1, flows
/// alpha + sigma = 1.
struct NoiseLevel {
  double alpha = 1;
  double sigma = 0;
  double timestep = 0;  ///< What the network is told; may be fractional.
  int step = 0;         ///< Index in the sampling run; 0 is the noisiest.
  /// (B), where the network is told each row another timestep; undefined: `timestep`.
  Tensor timesteps = {};
};

/// What a denoiser makes of a noisy sample. Shapes as the sample's, (B, C, H, W).
struct Prediction {
  Combination sample;   ///< Estimate of x_0.
  Combination epsilon;  ///< Estimate of the noise.
  Tensor variance;      ///< Learned variance's raw value (-1: smallest, 1: largest); undefined
                        ///< without one.
  Combination renoise;  ///< Another epsilon to noise the sample with (CFG++); undefined: use
                        ///< `epsilon`.
};

/// All that a sampler sees of networks and guidance. x: (B, C, H, W) at the given level.
using Denoiser = std::function<Prediction(const Tensor& x, const NoiseLevel&)>;

/// What a network's output stands for. Flows know the straight lines between noise and sample,
/// x = (1 - sigma) x_0 + sigma epsilon, and are told the time by flow_timestep.
enum class PredictionType {
  epsilon,
  v,  ///< alpha epsilon - sigma x_0, arXiv 2202.00512.
  sample,
  flow,            ///< epsilon - x_0: flow matching as diffusers has it.
  rectified_flow,  ///< x_0 - epsilon: arXiv 2209.03003 as its authors have it.
  edm  ///< What is to be added to a share of the noisy sample, arXiv 2206.00364, equation 7.
};

/// Parses "epsilon", "v_prediction" (or "v"), "sample", "flow" (or diffusers' "flow_prediction"),
/// "rectified_flow" and "edm"; throws Error otherwise.
PredictionType prediction_type_from(const std::string& name);
/// The first of the names that prediction_type_from knows.
std::string prediction_type_name(PredictionType);

/// Whether it is one of the two flows.
bool is_flow(PredictionType);
/// What a flow's network is told at sigma, from 0 to 1: T sigma, or (T - 1) (1 - sigma) where the
/// flow is rectified. T: timesteps.
double flow_timestep(PredictionType, double sigma, int64_t timesteps = 1000);

/// EDM's preconditioning, arXiv 2206.00364, table 1, for images of standard deviation 1/2. sigma:
/// where alpha = 1.
struct EdmPreconditioning {
  double skip, out;  ///< x_0 = skip x + out F.
  double in;         ///< F sees in x.
};
EdmPreconditioning edm_preconditioning(double sigma);
/// What an EDM network is told at sigma: ln(sigma) / 4.
double edm_timestep(double sigma);
constexpr double edm_sigma_data = 0.5;

/// What the sample is multiplied with before the network sees it: 1 / sqrt(alpha^2 + sigma^2), for
/// flows 1 / (alpha + sigma), for EDM 1 / sqrt(alpha^2 / 4 + sigma^2).
double input_scale(const NoiseLevel&, PredictionType);

/// Converts a network's raw output (same shape as x) to a sample and epsilon, in float32
/// (float64 where x is).
Prediction to_prediction(const Combination& output, const Tensor& x, const NoiseLevel&,
                         PredictionType);

}  // namespace tiller
