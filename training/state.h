#pragma once
#include "training/adamw.h"

namespace tiller {

/// All that a training run carries from step to step.
struct TrainState {
  std::vector<std::string> names;
  std::vector<Tensor> weights;  ///< Float32 leaves that require gradients.
  std::vector<Tensor> average;  ///< Their exponential moving average: the model that is sampled.
  Moments moments;
  int64_t step = 0;        ///< Steps done.
  double loss_sum = 0;     ///< Of the steps since the log's last line,
  int64_t loss_steps = 0;  ///< and their number.
};

/// The state before the first step. `parameters` become its leaves.
TrainState initial_state(const NamedTensors& parameters, const NamedTensors& average);

/// average = d average + (1 - d) weights, with d = min(decay, (1 + step) / (10 + step)).
void update_average(TrainState&, double decay);

/// One safetensors file; `run` (the options that must not change, a JSON object) is kept in its
/// metadata.
void save_state(const fs::path&, const TrainState&, const std::string& run);
/// Reads it back into a state of the same names and shapes. Throws Error when the file doesn't fit,
/// or was written by a run with other options.
void load_state(const fs::path&, TrainState&, const std::string& run);

}  // namespace tiller
