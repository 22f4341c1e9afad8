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

  /// The part's examples of a step; x0: its images or latents, (count, C, H, W). noise: what they
  /// came from; undefined: drawn.
  TrainExample example(int64_t step, const BatchPart&, const Tensor& x0, const Tensor& noise = {});
  /// Each image's loss, weighted by its timestep's. output: the network's.
  Tensor losses(const Tensor& output, const TrainExample&) const;
  /// losses: of the last examples' whole batch.
  void learn(const Tensor& losses);
  NamedTensors memory() const { return timesteps_.memory(); }

 private:
  void draw(int64_t step, at::IntArrayRef image);

  const TrainOptions* options_ = nullptr;
  Objective objective_;
  TimestepSampler timesteps_;
  TrainNoise noise_;  ///< Of the whole batch of step `drawn_`, whose parts come one by one.
  int64_t drawn_ = -1;
};

}  // namespace tiller
