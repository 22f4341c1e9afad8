#pragma once
#include <algorithm>
#include <cmath>

#include "models/prediction.h"

namespace tiller {

/// A step from one sigma to another goes down to `down`, then adds noise of `up` (k-diffusion's
/// get_ancestral_step). No noise where `to` isn't below.
struct AncestralStep {
  double down, up;
};

inline AncestralStep ancestral_step(double from, double to, double eta) {
  const double up = std::min(to, eta * to / from * std::sqrt(std::max(0.0, from * from - to * to)));
  return {std::sqrt(to * to - up * up), up};
}

/// The same between levels: down to sigma `down` on their scale, then times `kept`, then `up`. A
/// flow's own (alpha = 1 - sigma): as ComfyUI's samplers of flows have it, down = to at eta = 0 and
/// to^2 / from at 1.
struct AncestralLanding {
  double down, kept, up;
};

inline AncestralLanding ancestral_landing(const NoiseLevel& from, const NoiseLevel& to,
                                          double eta) {
  if (from.alpha == 1) {
    const auto [down, up] = ancestral_step(from.sigma, to.sigma, eta);
    return {down, 1, up};
  }
  const double down = to.sigma * (1 + (to.sigma / from.sigma - 1) * eta);
  const double kept = to.alpha / (1 - down), left = kept * down;
  return {down, kept, std::sqrt(std::max(0.0, to.sigma * to.sigma - left * left))};
}

}  // namespace tiller
