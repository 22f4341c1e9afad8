#pragma once
/// Trajectories on which orders of convergence are measured.
#include "tests/samplers/toy.h"

namespace tiller::test {

inline constexpr double kFrom = 20, kTo = 0.05;

/// What the network would be told: fine enough for samplers that round it.
inline double time_of(double ratio) { return 1e6 * (10 + std::log(ratio)); }

/// How the logarithm of sigma / alpha falls: uniformly, or as (i / N)^2, whose first steps are
/// so short that a multistep method's low order there leaves nothing.
enum class Grid { uniform, graded };

/// From sigma / alpha = kFrom to kTo.
inline std::vector<double> grid_sigmas(int steps, Grid grid) {
  if (grid == Grid::uniform) return exponential_sigmas(steps + 1, kTo, kFrom);
  std::vector<double> sigmas;
  for (int i = 0; i <= steps; ++i)
    sigmas.push_back(kFrom * std::pow(kTo / kFrom, std::pow(double(i) / steps, 2)));
  return sigmas;
}

inline Trajectory logarithmic(int steps, bool variance_preserving, Grid grid = Grid::uniform) {
  const auto level = [variance_preserving](double ratio, int step) {
    const double alpha = variance_preserving ? 1 / std::hypot(ratio, 1) : 1;
    return NoiseLevel{alpha, ratio * alpha, time_of(ratio), step};
  };
  Trajectory trajectory = custom_trajectory(grid_sigmas(steps, grid), time_of);
  for (auto& each : trajectory.levels) each = level(each.sigma, each.step);
  trajectory.level_at = [level](double t) { return level(std::exp(t / 1e6 - 10), 0); };
  trajectory.cleanest = trajectory.levels.back();
  trajectory.initial_scale = trajectory.levels.front().sigma;
  return trajectory;
}

}  // namespace tiller::test
