#pragma once
#include <ATen/core/Generator.h>

#include "models/prediction.h"
#include "samplers/noise_schedule.h"

namespace tiller {

struct TrainOptions;

/// What a network is taught.
struct Objective {
  PredictionType prediction = PredictionType::epsilon;
  NoiseSchedule schedule;
  double input_perturbation = 0;  ///< DDPM-IP's gamma (arXiv 2301.11706); 0: none.
  double min_snr = 0;             ///< Min-SNR's gamma (arXiv 2303.09556); 0: all timesteps alike.
  int64_t augmented = 0;  ///< PFGM++'s D (arXiv 2302.04265), of an EDM network; 0: infinite, EDM.
  /// The network answers the variance too, which is taught by the variational bound
  /// (arXiv 2102.09672): 2 C channels.
  bool learned_variance = false;
  bool rescaled_bound = true;  ///< The bound times T / 1000: rescale_learned_sigmas.
};

/// Throws UsageError where the options ask for what has no meaning for the prediction.
void check_objective(const TrainOptions&, PredictionType);

/// The random numbers of a step's whole batch. A process or a part of the batch takes its rows, so
/// that it doesn't matter how a batch is divided.
struct TrainNoise {
  Tensor t;             ///< (B) int64, indices into the schedule; EDM has none.
  Tensor sigma;         ///< (B), EDM's; undefined elsewhere.
  Tensor weight;        ///< (B), of the losses; undefined: 1.
  Tensor epsilon;       ///< As the images.
  Tensor perturbation;  ///< As the images; undefined where the input isn't perturbed.

  TrainNoise rows(int64_t first, int64_t count) const;
};
/// t, weight: as above. sizes: of the whole batch of images or latents, (B, C, H, W).
TrainNoise draw_noise(const Objective&, const Tensor& t, const Tensor& weight,
                      at::IntArrayRef sizes, at::Generator);

/// What the network sees and what it should answer.
struct TrainExample {
  Tensor x;             ///< (B, C, H, W) at timestep t: the network's input.
  Tensor timesteps;     ///< (B) as the network is told them, float32.
  Tensor target;        ///< (B, C, H, W).
  Tensor error_weight;  ///< (B), of the squared error; undefined: 1.
  Tensor weight;        ///< (B), of the whole loss; undefined: 1.
  Tensor x0, t;         ///< The images, and indices into the schedule (B).
};

/// Of a schedule of timesteps x_t = sqrt(abar) x_0 + sqrt(1 - abar) (eps + gamma xi) with eps as
/// the target (epsilon prediction), x_0 (sample prediction) or sqrt(abar) eps - sqrt(1 - abar) x_0
/// (v prediction, arXiv 2202.00512): the perturbation is in the input alone (arXiv 2301.11706,
/// algorithm 1). Of a flow x = (1 - sigma) x_0 + sigma (eps + gamma xi), with eps - x_0 as the
/// target or, where it is rectified, x_0 - eps. Of EDM (arXiv 2206.00364, equation 8) x_0 + sigma
/// (eps + gamma xi), ln sigma ~ N(-1.2, 1.2^2), scaled for the network, whose target is what makes
/// its estimate x_0 where gamma is 0; the weight that EDM has is 1 there.
TrainExample train_example(const Objective&, const Tensor& x0, const TrainNoise&);

/// Each image's loss, (B) float32, without its weight: the weighted mean squared error and, where
/// the variance is learned, the variational bound in bits, times T / 1000 where it is rescaled.
/// output: the network's.
Tensor image_losses(const Objective&, const Tensor& output, const TrainExample&);

}  // namespace tiller
