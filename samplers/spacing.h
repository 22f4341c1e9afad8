#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tiller {

/// How the timesteps of a run are chosen among the T of training (arXiv 2305.08891, table 2).
enum class Spacing {
  leading,
  trailing,
  linspace,
  sgm_uniform,  ///< linspace of N + 1 timesteps without the cleanest, whatever the style.
  beta          ///< Quantiles of Beta(0.6, 0.6), dense at both ends (arXiv 2407.12173).
};

/// Parses "leading", "trailing", "linspace", "sgm-uniform" and "beta"; throws UsageError otherwise.
Spacing spacing_from(const std::string& name);

/// Which of diffusers' conventions a list follows. They differ for the same name:
enum class SpacingStyle {
  integer,     ///< DDIM, DDPM: whole timesteps; linspace includes 0.
  fractional,  ///< Euler, Heun: linspace keeps fractions.
  open         ///< DPM++ and UniPC: N + 1 whole timesteps of which the cleanest is dropped.
};

/// N timesteps in [0, T), descending; beta leaves out those that it has twice. `offset`
/// (steps_offset) is added to leading ones. usable: how
/// many of the T may be visited, where not all; trailing ones keep their stride, and are fewer.
/// Throws UsageError unless 1 <= N <= T and the offset leaves the first below those.
std::vector<double> spaced_timesteps(Spacing, SpacingStyle, int64_t timesteps, int steps,
                                     int offset = 0, std::optional<int64_t> usable = {});

/// guided-diffusion's `timestep_respacing`: "ddim10" (a whole stride), "25", or "10,15,20" (steps
/// in equal sections, the cleanest first); "" keeps every timestep. Descending. Throws UsageError
/// when the string does not parse or asks for more steps than there are.
std::vector<double> respaced_timesteps(const std::string& respacing, int64_t timesteps);

}  // namespace tiller
