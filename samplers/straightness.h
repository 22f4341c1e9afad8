#pragma once
#include "samplers/trajectory.h"

namespace tiller {

/// How straight a flow's paths are, arXiv 2209.03003, equation 5: S, the mean over a run's time of
/// |(x_1 - x_0) - v|^2, where x_1 - x_0 is how far an image has come from its noise and v the
/// velocity on the way. 0: a single Euler step would do. By an image's squared norm.
class Straightness {
 public:
  /// x: (B, C, H, W) where the run begins.
  Straightness(const Tensor& x, const Trajectory&);

  /// To be told of each step.
  void add(const StepReport&);
  /// (B) in float64, of the steps so far.
  Tensor measure() const;

 private:
  Tensor start_, end_, velocity_, square_;  // on the straight lines; integrals over time
  double sigma_, time_ = 0;
};

}  // namespace tiller
