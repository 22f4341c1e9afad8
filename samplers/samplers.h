#pragma once
/// The samplers as functions. Each takes the noise already scaled to the trajectory's first level,
/// (B, C, H, W), keeps its state in float32 (float64 when x is), and returns the last level's
/// sample.
#include "samplers/noise.h"
#include "samplers/trajectory.h"

namespace tiller {

/// arXiv 2010.02502. Draws once a step when eta > 0.
struct DdimOptions {
  double eta = 0;  ///< 0: deterministic; 1: DDPM's variance.
};
Tensor sample_ddim(const Denoiser&, Tensor x, const Trajectory&, const DdimOptions&, NoiseSource&,
                   const Observer& = {});

/// arXiv 2006.11239 and 2102.09672. Draws once a step but for the last.
struct DdpmOptions {
  enum class Variance {
    automatic,     ///< learned_range where the model has it, else fixed_small.
    fixed_small,   ///< The posterior's variance.
    fixed_large,   ///< beta.
    learned_range  ///< Between the two in the logarithm, as the model says.
  };
  Variance variance = Variance::automatic;
  /// DDPMScheduler's rule: the last step too adds noise unless the network was told timestep 0.
  bool strict = false;
};
Tensor sample_ddpm(const Denoiser&, Tensor x, const Trajectory&, const DdpmOptions&, NoiseSource&,
                   const Observer& = {});

/// Noise added before a step, arXiv 2206.00364, algorithm 2. Draws only at steps where it adds any.
struct Churn {
  double churn = 0;  ///< S_churn.
  double from = 0;   ///< S_min: no churn at sigmas below.
  double to = 1e30;  ///< S_max: no churn at sigmas above.
  double noise = 1;  ///< S_noise.
  /// EulerDiscreteScheduler's order: the network sees the sample from before the churn.
  bool strict = false;
};

/// Euler's method on the probability flow ODE. alpha = 1.
Tensor sample_euler(const Denoiser&, Tensor x, const Trajectory&, const Churn&, NoiseSource&,
                    const Observer& = {});

/// Euler steps below the next level and noise back up to it, as in k-diffusion. alpha = 1. Draws at
/// each step, the last too, as EulerAncestralDiscreteScheduler does.
struct EulerAncestralOptions {
  double eta = 1;      ///< 0: plain Euler.
  double s_noise = 1;  ///< Scales the noise.
};
Tensor sample_euler_ancestral(const Denoiser&, Tensor x, const Trajectory&,
                              const EulerAncestralOptions&, NoiseSource&, const Observer& = {});

/// Heun's method, arXiv 2206.00364, algorithm 2: two evaluations a step, one at the step to zero.
/// alpha = 1. Churn::strict has no meaning here.
Tensor sample_heun(const Denoiser&, Tensor x, const Trajectory&, const Churn&, NoiseSource&,
                   const Observer& = {});

/// DPM-Solver++(2M), arXiv 2211.01095, algorithm 2. Any alpha. Draws nothing.
struct DpmPlusPlus2mOptions {
  enum class Solver { midpoint, heun };
  Solver solver = Solver::midpoint;
  /// Take the last step at first order when there are fewer than 15 (always so when it ends at
  /// zero).
  bool lower_order_final = true;
};
Tensor sample_dpmpp_2m(const Denoiser&, Tensor x, const Trajectory&, const DpmPlusPlus2mOptions&,
                       NoiseSource&, const Observer& = {});

}  // namespace tiller
