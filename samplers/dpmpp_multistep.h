#pragma once
/// DPM-Solver++ multistep's single steps, for its inverse.
#include "io/options.h"
#include "samplers/samplers.h"

namespace tiller {

/// How many steps' estimates the step from levels[level] uses in a whole run.
int dpm_order(const Trajectory&, int level, const DpmMultistepOptions&);
/// The step from levels[level], without noise, up to second order. sample: the estimate of x_0
/// there; sample_before: that at levels[level - 1], undefined where the run begins here.
Tensor dpm_step(const Trajectory&, int level, const DpmMultistepOptions&, const Tensor& x,
                const Combination& sample, const Tensor& sample_before);

/// The standard deviation of the noise that a step of the SDE adds.
double dpm_noise(const NoiseLevel& from, const NoiseLevel& to, double eta);

/// The options of the deterministic samplers, with this default order.
std::vector<Option> dpm_option_list(int order);
DpmMultistepOptions dpm_options(const Options&, int highest_order);

}  // namespace tiller
