#pragma once
#include <cmath>

#include "models/prediction.h"

namespace tiller {

/// lambda of DPM-Solver's papers, log(alpha / sigma); infinite where the noise ends.
inline double log_snr(const NoiseLevel& level) {
  return std::log(level.alpha) - std::log(level.sigma);
}

}  // namespace tiller
