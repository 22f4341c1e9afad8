#pragma once
#include <string>
#include <vector>

#include "samplers/noise_schedule.h"

namespace tiller {

/// What replaces the sigmas of the spaced timesteps.
enum class SigmaRule { none, karras, exponential };

/// Parses "none", "karras" and "exponential"; throws UsageError otherwise.
SigmaRule sigma_rule_from(const std::string& name);

/// N sigmas from sigma_max down to sigma_min, without a final zero. arXiv 2206.00364, equation 5.
std::vector<double> karras_sigmas(int steps, double sigma_min, double sigma_max, double rho = 7);
/// N sigmas, uniform in log sigma.
std::vector<double> exponential_sigmas(int steps, double sigma_min, double sigma_max);

/// sigma_t = sqrt((1 - abar_t) / abar_t), one a timestep, ascending. A table of zero terminal SNR
/// ends in 4096 (abar = 2^-24), as in diffusers.
std::vector<double> sigma_table(const NoiseSchedule&);
/// Linear interpolation of the table at a fractional timestep.
double sigma_at(const std::vector<double>& table, double timestep);
/// The inverse, linear in log sigma; clamped to the table's ends.
double timestep_at(const std::vector<double>& table, double sigma);

}  // namespace tiller
