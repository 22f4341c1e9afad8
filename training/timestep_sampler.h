#pragma once
#include "io/tensor_file.h"

namespace tiller {

/// Which timesteps are trained on.
enum class TimestepRule {
  uniform,
  loss_second_moment  ///< By the root of the mean squared loss (arXiv 2102.09672, section 3.3).
};

/// Parses "uniform" and "loss-second-moment"; throws UsageError otherwise.
TimestepRule timestep_rule_from(const std::string&);

/// Draws timesteps, and learns from their losses where the rule asks for it: then after ten losses
/// of each timestep.
class TimestepSampler {
 public:
  TimestepSampler() = default;
  TimestepSampler(TimestepRule, int64_t timesteps, at::Device);

  /// uniform: (B), in [0, 1). Returns indices into the schedule, (B) int64.
  Tensor draw(const Tensor& uniform) const;
  /// What the losses of these timesteps are multiplied with, (B), so that their mean is that of
  /// timesteps drawn alike; undefined: 1.
  Tensor weights(const Tensor& t) const;
  /// losses: (B), without their weights.
  void learn(const Tensor& t, const Tensor& losses);
  /// The tensors that it learns with.
  NamedTensors memory() const;

 private:
  bool learned() const;

  TimestepRule rule_ = TimestepRule::uniform;
  int64_t timesteps_ = 0;
  at::Device device_ = at::kCPU;
  Tensor history_;  ///< (T, 10) float64, the oldest first.
  Tensor counts_;   ///< (T) int64: how many of these there are.
};

}  // namespace tiller
