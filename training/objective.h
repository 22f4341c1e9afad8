#pragma once
#include <ATen/core/Generator.h>

#include "models/prediction.h"
#include "samplers/noise_schedule.h"

namespace tiller {

/// What the network sees and what it should answer.
struct TrainExample {
  Tensor x;          ///< (B, C, H, W) at timestep t.
  Tensor timesteps;  ///< (B) as the network is told them, float32.
  Tensor target;     ///< (B, C, H, W).
};

/// DDPM-IP (arXiv 2301.11706, algorithm 1): x_t = sqrt(abar) x_0 + sqrt(1 - abar) (eps + gamma xi),
/// with eps as the target (epsilon prediction), x_0 (sample prediction) or
/// sqrt(abar) eps - sqrt(1 - abar) x_0 (v prediction, arXiv 2202.00512). gamma = 0 is DDPM.
/// t is uniform over the schedule.
TrainExample input_perturbed(const Tensor& x0, const NoiseSchedule&, PredictionType, double gamma,
                             at::Generator);

/// The mean squared error over everything, float32.
Tensor simple_loss(const Tensor& output, const Tensor& target);

}  // namespace tiller
