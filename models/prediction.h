#pragma once
#include <ATen/core/Tensor.h>

#include <functional>

namespace tiller {
using at::Tensor;

/// A point on the noise scale, where a sample reads x = alpha x_0 + sigma epsilon.
/// Variance preserving samplers have alpha^2 + sigma^2 = 1, k-diffusion's have alpha = 1.
struct NoiseLevel {
  double alpha = 1;
  double sigma = 0;
  double timestep = 0;  ///< What the network is told; may be fractional.
  int step = 0;         ///< Index in the sampling run; 0 is the noisiest.
};

/// What a denoiser makes of a noisy sample. Shapes as the sample's, (B, C, H, W).
struct Prediction {
  Tensor sample;    ///< Estimate of x_0.
  Tensor epsilon;   ///< Estimate of the noise.
  Tensor variance;  ///< Learned variance's raw value (-1: smallest, 1: largest); undefined without
                    ///< one.
  Tensor renoise;   ///< Another epsilon to noise the sample with (CFG++); undefined: use `epsilon`.
};

/// All that a sampler sees of networks and guidance. x: (B, C, H, W) at the given level.
using Denoiser = std::function<Prediction(const Tensor& x, const NoiseLevel&)>;

/// What a network's output stands for.
enum class PredictionType { epsilon, v, sample };

/// Parses "epsilon", "v_prediction" (or "v") and "sample"; throws Error otherwise.
PredictionType prediction_type_from(const std::string& name);

/// 1 / sqrt(alpha^2 + sigma^2): what the sample is multiplied with before the network sees it.
double input_scale(const NoiseLevel&);

/// Converts a network's raw output (same shape as x) to a sample and epsilon, in float32.
Prediction to_prediction(const Tensor& output, const Tensor& x, const NoiseLevel&, PredictionType);

}  // namespace tiller
