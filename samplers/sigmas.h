#pragma once
#include <string>
#include <vector>

#include "samplers/noise_schedule.h"

namespace tiller {

/// What replaces the sigmas of the spaced timesteps.
enum class SigmaRule {
  none,
  karras,       ///< arXiv 2206.00364, equation 5.
  exponential,  ///< Uniform in log sigma.
  lu,           ///< Uniform in log sigma, with rounded timesteps (arXiv 2206.00927).
  beta,         ///< arXiv 2407.12173.
  ays_sd15,     ///< Align your steps, arXiv 2404.14507, for Stable Diffusion 1.5.
  ays_sdxl,     ///< The same for SDXL.
  kl_optimal,   ///< Uniform in arctan sigma, the same paper's section 3.1.
  listed        ///< Given one by one.
};

/// Parses "none", "karras", "exponential", "lu", "beta", "ays-sd15", "ays-sdxl" and "kl-optimal";
/// throws UsageError otherwise.
SigmaRule sigma_rule_from(const std::string& name);
/// Parses "14.6+5+1.2+0.3", sigmas that descend; a final 0 is left out. Throws UsageError.
std::vector<double> sigma_list_from(const std::string& text);

/// N sigmas from sigma_max down to sigma_min, without a final zero. arXiv 2206.00364, equation 5.
std::vector<double> karras_sigmas(int steps, double sigma_min, double sigma_max, double rho = 7);
/// N sigmas, uniform in log sigma.
std::vector<double> exponential_sigmas(int steps, double sigma_min, double sigma_max);
/// N sigmas at the quantiles of Beta(0.6, 0.6), dense at both ends.
std::vector<double> beta_sigmas(int steps, double sigma_min, double sigma_max);
/// N sigmas, uniform in arctan sigma: of a Gaussian's data the steps of equal error.
std::vector<double> kl_optimal_sigmas(int steps, double sigma_min, double sigma_max);
/// N sigmas of the published ten steps, given as the table's timesteps; other counts interpolate
/// the logarithm linearly, as the paper's authors do. sigma_min, the eleventh, is left out.
std::vector<double> aligned_sigmas(int steps, SigmaRule, const std::vector<double>& table);

/// The x in [0, 1] with I_x(a, b) = p, the regularised incomplete beta function.
double beta_quantile(double p, double a, double b);

/// sigma_t = sqrt((1 - abar_t) / abar_t), one a timestep, ascending. A table of zero terminal SNR
/// ends in 4096 (abar = 2^-24), as in diffusers. In float32 where the table's numbers are.
std::vector<double> sigma_table(const NoiseSchedule&);
/// Linear interpolation of the table at a fractional timestep.
double sigma_at(const std::vector<double>& table, double timestep);
/// The inverse, linear in log sigma; clamped to the table's ends.
double timestep_at(const std::vector<double>& table, double sigma);

/// The nearest of the sigmas that a network knows; any, where there are none: it knows all.
double nearest_known(const std::vector<double>& known, double sigma);

}  // namespace tiller
