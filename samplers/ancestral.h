#pragma once
#include <algorithm>
#include <cmath>

namespace tiller {

/// A step from one sigma to another goes down to `down`, then adds noise of `up` (k-diffusion's
/// get_ancestral_step).
struct AncestralStep {
  double down, up;
};

inline AncestralStep ancestral_step(double from, double to, double eta) {
  const double up = std::min(to, eta * to / from * std::sqrt(from * from - to * to));
  return {std::sqrt(to * to - up * up), up};
}

}  // namespace tiller
