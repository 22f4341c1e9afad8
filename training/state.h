#pragma once
#include "training/adamw.h"
#include "training/averaging.h"

namespace tiller {

/// A moving average of the weights, in their order.
struct AveragedWeights {
  Averaging averaging;
  std::vector<Tensor> tensors;
};

/// How much a loss is scaled up before its gradients are computed in float16, whose small numbers
/// would vanish.
struct LossScale {
  double scale = 65536;
  int64_t good_steps = 0;  ///< Since it last changed.
};

/// All that a training run carries from step to step.
struct TrainState {
  std::vector<std::string> names;
  std::vector<Tensor> weights;            ///< Float32 leaves that require gradients.
  std::vector<AveragedWeights> averages;  ///< The first is the model that is sampled.
  AdamMoments moments;
  NamedTensors memory;  ///< What the task has learned of its losses.
  LossScale loss_scale;
  int64_t step = 0;        ///< Steps done.
  int64_t updates = 0;     ///< Those that changed the weights: all but float16's overflows.
  double loss_sum = 0;     ///< Of the steps since the log's last line,
  int64_t loss_steps = 0;  ///< and their number.
  std::string trouble;     ///< That float16's last overflows began with; isn't saved.
  std::string data;        ///< Tells the images apart from others; "": not known.
};

/// The state before the first step. `parameters` become its leaves, `average` the tensors of its
/// first average.
TrainState initial_state(const NamedTensors& parameters, const NamedTensors& average,
                         const std::vector<Averaging>& = {{}});

/// One safetensors file; `run` (the options that must not change, a JSON object) is kept in its
/// metadata.
void save_state(const fs::path&, const TrainState&, const std::string& run);
/// Reads it back into a state of the same names and shapes. Returns which of the options
/// `may_change` are others than in the file, as "lr 0.1 (it was 0.2)". Throws Error when the file
/// doesn't fit, or was written by a run with others of the other options.
std::vector<std::string> load_state(const fs::path&, TrainState&, const std::string& run,
                                    const std::vector<std::string>& may_change = {});

}  // namespace tiller
