#pragma once
#include <algorithm>
#include <cmath>

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

}  // namespace tiller
