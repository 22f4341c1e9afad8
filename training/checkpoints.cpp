#include "training/checkpoints.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <charconv>

namespace tiller {
namespace {

/// Options that a resumed run must share, as one line. They don't say how the batch is divided
/// among processes.
std::string run_line(const TrainOptions& options) {
  nlohmann::json run = {{"config", options.config},
                        {"batch", options.whole_batch()},
                        {"lr", options.learning_rate},
                        {"warmup", options.warmup},
                        {"weight_decay", options.weight_decay},
                        {"clip", options.clip},
                        {"input_perturbation", options.input_perturbation},
                        {"label_dropout", options.label_dropout},
                        {"flip", options.flip},
                        {"seed", options.seed}};
  for (const auto& average : options.ema) run["ema"].push_back(average.name);
  if (options.augmented > 0) run["pfgmpp"] = options.augmented;
  if (options.min_snr > 0) run["min_snr"] = options.min_snr;
  if (options.timesteps == TimestepRule::loss_second_moment)
    run["timesteps"] = "loss-second-moment";
  if (options.balance > 0) run["balance"] = options.balance;
  if (options.autocast == TrainOptions::Autocast::bfloat16) run["bf16"] = true;
  if (options.autocast == TrainOptions::Autocast::float16) run["fp16"] = true;
  return run.dump();
}

fs::path state_file(const TrainOptions& options) { return options.output / "state.safetensors"; }

/// The task saves its first average: the others take its place for a moment.
void save_other_averages(const TrainOptions& options, const TrainTask& task,
                         const TrainState& state) {
  const at::NoGradGuard guard;
  const auto& shown = state.averages.front().tensors;
  std::vector<Tensor> kept;
  if (state.averages.size() > 1)
    for (const auto& tensor : shown) kept.push_back(tensor.clone());
  const auto show = [&](const std::vector<Tensor>& tensors) {
    for (size_t i = 0; i < shown.size(); ++i) Tensor(shown[i]).copy_(tensors[i]);
  };
  for (size_t i = 1; i < state.averages.size(); ++i) {
    show(state.averages[i].tensors);
    task.save(options.output / ("ema-" + state.averages[i].averaging.name));
  }
  if (!kept.empty()) show(kept);
}

/// N of "step-N"; -1: another name.
int64_t step_of(const fs::path& folder) {
  const std::string name = folder.filename().string(), start = "step-";
  int64_t step = -1;
  if (name.starts_with(start))
    std::from_chars(name.data() + start.size(), name.data() + name.size(), step);
  return step;
}

void keep_last(const fs::path& folder, int64_t count) {
  std::vector<std::pair<int64_t, fs::path>> kept;
  for (const auto& entry : fs::directory_iterator(folder))
    if (step_of(entry.path()) >= 0) kept.emplace_back(step_of(entry.path()), entry.path());
  std::sort(kept.begin(), kept.end());
  for (int64_t i = 0; i + count < std::ssize(kept); ++i) fs::remove_all(kept[i].second);
}

}  // namespace

void resume(const TrainOptions& options, TrainState& state) {
  if (fs::exists(state_file(options))) load_state(state_file(options), state, run_line(options));
}

void save_best(const TrainOptions& options, const TrainTask& task) {
  task.save(options.output / "best");
}

void save_checkpoint(const TrainOptions& options, const TrainTask& task, const TrainState& state) {
  save_state(state_file(options), state, run_line(options));
  task.save(options.output);
  save_other_averages(options, task, state);
  if (!options.keep) return;
  const fs::path folder = options.output / "checkpoints";
  task.save(folder / ("step-" + std::to_string(state.step)));
  keep_last(folder, options.keep);
}

}  // namespace tiller
