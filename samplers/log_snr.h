#pragma once
#include <cmath>

#include "models/prediction.h"

namespace tiller {

/// lambda of DPM-Solver's papers, log(alpha / sigma); infinite where the noise ends.
inline double log_snr(const NoiseLevel& level) {
  return std::log(level.alpha) - std::log(level.sigma);
}

/// An estimate of x_0 and the log SNR of where it was made.
struct Estimate {
  Tensor sample;
  double lambda;
};

/// Whether a step's weights beyond first order are undefined: it ends without noise, or where it
/// began (a sigma rule whose last sigma is the final one).
inline bool is_flat(const NoiseLevel& from, const NoiseLevel& to) {
  return to.sigma == 0 || log_snr(to) <= log_snr(from);
}

}  // namespace tiller
