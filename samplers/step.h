#pragma once
/// What the samplers' loops have in common.
#include <ATen/ATen.h>

#include "samplers/samplers.h"

namespace tiller {

/// Samplers compute in float32, or in float64 where they are given it.
inline Tensor as_state(const Tensor& x) {
  return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
}

/// The noise to leave in the sample: the guided epsilon unless guidance asks for another.
inline const Combination& noise_of(const Prediction& prediction) {
  return prediction.renoise.defined() ? prediction.renoise : prediction.epsilon;
}

/// The level of `trajectory` where step i ends, as an evaluation within step i sees it.
inline NoiseLevel level_within(const Trajectory& trajectory, int i) {
  NoiseLevel level = trajectory.landing(i);
  level.step = i;
  return level;
}

inline void report(const Observer& observer, const Trajectory& trajectory, int i, Tensor& x,
                   const Prediction& prediction) {
  if (observer) observer({i, trajectory.steps(), trajectory.landing(i), x, prediction});
}

/// Between two evaluations of step i: x is at `level`.
inline void report_within(const Observer& observer, const Trajectory& trajectory, int i,
                          const NoiseLevel& level, Tensor& x, const Prediction& prediction) {
  if (observer) observer({i, trajectory.steps(), level, x, prediction, true});
}

}  // namespace tiller
