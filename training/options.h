#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "io/file.h"
#include "io/processes.h"
#include "training/averaging.h"
#include "training/timestep_sampler.h"

namespace tiller {

/// How far a run's samples are from the data, measured while it goes on.
struct DistanceMeasure {
  std::string name;   ///< In the log: "fd_efflite0".
  int64_t every = 0;  ///< Steps; 0: never.
  std::function<double(const fs::path& model)> of;
};

/// A training run. What is trained follows from `config`; see training/task.h.
struct TrainOptions {
  fs::path data, output;
  fs::path data_cache;  ///< Where decoded images lie, mapped; empty: in memory.
  nlohmann::json config;
  std::string config_file;  ///< Where `config` came from, for messages.
  fs::path initial;         ///< Weights to begin with instead of fresh ones; may be empty.

  int64_t steps = 100000;
  int64_t batch = 128;     ///< Images a step and process.
  int64_t microbatch = 0;  ///< Images at a time, whose gradients add up; 0: the batch.
  bool recompute = false;  ///< Blocks' activations are computed again rather than kept.
  double learning_rate = 1e-4;
  int64_t warmup = 500;  ///< Steps over which the learning rate rises from zero.
  int64_t cooldown = 0;  ///< Steps before the end over which it falls to zero.
  double weight_decay = 0;
  double clip = 1;                    ///< Largest norm of the gradient; 0: not clipped.
  std::vector<Averaging> ema = {{}};  ///< The first is the model that is saved in `output`.
  double input_perturbation = 0.1;    ///< DDPM-IP's gamma; 0: plain DDPM.
  int64_t augmented = 0;              ///< PFGM++'s D; 0: infinite.
  double min_snr = 0;                 ///< Min-SNR's gamma; 0: all timesteps alike.
  TimestepRule timesteps = TimestepRule::uniform;
  double label_dropout = 0.1;  ///< Share of labels and captions left out, for CFG.
  /// Whether the user asked for these two, whose defaults aren't 0: then they must have an effect.
  bool input_perturbation_given = false, label_dropout_given = false;
  double balance = 0;  ///< How far small groups catch up with large ones; 1: wholly.
  bool flip = true;
  enum class Autocast { none, bfloat16, float16 } autocast = Autocast::none;
  at::Device device = at::kCPU;
  uint64_t seed = 0;

  int64_t log_every = 50;
  int64_t save_every = 1000;
  int64_t sample_every = 5000;  ///< 0: never.
  std::string sample_guidance;  ///< Of the sample grids, "cfg:scale=2"; empty: none.
  DistanceMeasure distance;
  int64_t keep = 0;  ///< The last checkpoints that are kept as models of their own.

  Launch launch;  ///< This process's place among those that train together.

  /// Images a step, all processes together.
  int64_t whole_batch() const { return batch * launch.world; }
};

}  // namespace tiller
