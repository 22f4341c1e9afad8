#pragma once
#include "training/objective.h"
#include "training/options.h"
#include "training/task.h"

namespace tiller {

/// A diffusion model's examples: what a task of images and one of latents have in common.
class Noising {
 public:
  Noising() = default;
  Noising(const TrainOptions&, Objective);

  /// The part's examples of a step; x0: its images or latents, (count, C, H, W).
  TrainExample example(int64_t step, const BatchPart&, const Tensor& x0) const;
  /// Each image's loss, weighted by its timestep's. output: the network's.
  Tensor losses(const Tensor& output, const TrainExample&) const;
  /// losses: of the whole batch.
  void learn(int64_t step, const Tensor& losses);
  NamedTensors memory() const { return timesteps_.memory(); }

 private:
  Tensor draw_timesteps(int64_t step) const;

  const TrainOptions* options_ = nullptr;
  Objective objective_;
  TimestepSampler timesteps_;
};

}  // namespace tiller
