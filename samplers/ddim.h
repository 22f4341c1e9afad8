#pragma once
/// DDIM's noise, for what inverts its stochastic form.
#include "samplers/registry.h"

namespace tiller {

/// The noise of a step, in standard deviations: what is drawn anew, arXiv 2010.02502, equation 16,
/// and what is left of epsilon.
struct DdimNoise {
  double added, kept;
};
DdimNoise ddim_noise(const NoiseLevel& from, const NoiseLevel& to, double eta);

Sampler ddim_sampler();

}  // namespace tiller
