#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/prediction.h"

namespace tiller {

/// The noise that a model was trained on: t = 0 is the cleanest of the T timesteps, and
/// x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) epsilon.
struct NoiseSchedule {
  std::vector<double> alphas_cumprod;  ///< abar_t, one a timestep.
  bool cosine = false;             ///< Decides how diffusers turns Karras sigmas into timesteps.
  bool rescale_timesteps = false;  ///< guided-diffusion's flag: the network is told t * 1000 / T.

  /// Which flow the model learned, whose straight lines the table retells: sqrt(1 - abar) /
  /// sqrt(abar) = sigma / (1 - sigma). None: the model is no flow.
  std::optional<PredictionType> flow = {};
  bool edm = false;  ///< The network is told ln(sigma) / 4, and the table is uniform in that.
  double sigma_min = 0.002, sigma_max = 80;  ///< EDM's ends.
  /// Runs on sigmas begin in noise of variance sigma^2 + 1, as diffusers' EDM schedulers have it.
  bool begins_with_data = false;
  bool exponential = false;  ///< EDM's usual sigmas are uniform in the logarithm, not Karras'.
  std::vector<double> known_sigmas = {};  ///< Not empty: an EDM network knows these alone.
  double shift = 1;  ///< Of a flow's sigmas: sigma becomes shift sigma / (1 + (shift - 1) sigma).

  int64_t size() const { return static_cast<int64_t>(alphas_cumprod.size()); }
  /// The timestep as the network is told it.
  double network_timestep(double t) const;
  /// The inverse.
  double table_timestep(double network) const;
  /// A flow's sigma at a timestep of the table, (t + 1) / T before it is shifted.
  double flow_sigma(double t) const;
};

/// A diffusers scheduler's beta table, with the names and defaults of its config.
struct BetaTable {
  /// linear, scaled_linear, squaredcos_cap_v2 (also "cosine") or sigmoid.
  std::string schedule = "linear";
  double start = 1e-4, end = 0.02;
  int64_t timesteps = 1000;
  std::vector<double> trained;     ///< `trained_betas`, one a timestep; not empty: these betas.
  bool zero_terminal_snr = false;  ///< arXiv 2305.08891, algorithm 1. Needs v or sample prediction.
};

/// In float32, as diffusers computes it. Throws Error on an unknown schedule or an empty table.
NoiseSchedule diffusers_schedule(const BetaTable&);

/// guided-diffusion's `noise_schedule` ("linear" or "cosine"), in float64; linear betas are scaled
/// by 1000 / timesteps. Also "sigmoid": abar falls as a sigmoid from -3 to 3, arXiv 2301.10972.
/// Throws Error on any other name.
NoiseSchedule guided_diffusion_schedule(const std::string& name, int64_t timesteps,
                                        bool rescale_timesteps = false,
                                        bool zero_terminal_snr = false);

/// shift sigma / (1 + (shift - 1) sigma), arXiv 2403.03206, equation 23. A dynamic shift by mu is
/// one of exp(mu).
double shifted_sigma(double sigma, double shift);

/// A flow's sigmas 1 / T, ..., 1, shifted. Ends in pure noise.
NoiseSchedule flow_schedule(PredictionType, int64_t timesteps = 1000, double shift = 1);

/// EDM's (arXiv 2206.00364): sigmas between these, uniform in the logarithm.
NoiseSchedule edm_schedule(int64_t timesteps = 1000, double sigma_min = 0.002,
                           double sigma_max = 80);

}  // namespace tiller
