#include "training/checkpoints.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <iostream>

#include "io/error.h"
#include "io/json.h"

namespace tiller {
namespace {

/// Those of the options below that a resumed run may have others of.
const std::vector<std::string> kMayChange = {"lr", "warmup", "weight_decay", "clip"};

/// Options of a run that its state depends on, as one line. They don't say how the batch is divided
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
  return dumped(run);
}

fs::path state_file(const TrainOptions& options) { return options.output / "state.safetensors"; }

fs::path checkpoint_of(const TrainOptions& options, int64_t step) {
  return options.output / "checkpoints" / ("step-" + std::to_string(step));
}

/// What is in `from`, folders too, takes the place of what `to` has of the same names.
void move_files(const fs::path& from, const fs::path& to) {
  fs::create_directories(to);
  for (const auto& entry : fs::directory_iterator(from)) {
    const fs::path target = to / entry.path().filename();
    entry.is_directory() ? move_files(entry.path(), target) : fs::rename(entry.path(), target);
  }
}

/// Written beside its place, or inside where a model is there, whose files are then replaced all
/// within a moment.
void save_model(const TrainTask& task, const fs::path& folder) {
  const bool replaces = fs::exists(folder);
  const std::string name = replaces ? "model" : folder.filename().string();
  const fs::path temporary = (replaces ? folder : folder.parent_path()) /
                             ("." + name + "." + std::to_string(::getpid()) + ".tmp");
  try {
    fs::create_directories(temporary);
    task.save(temporary);
    if (!replaces) return fs::rename(temporary, folder);
    move_files(temporary, folder);
    fs::remove_all(temporary);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw;
  }
}

/// PID of ".NAME.PID.tmp", as above, and of ".NAME.PID-COUNT.tmp.ENDING", as write_atomically has
/// it; 0: another name.
pid_t writer_of(const fs::path& path) {
  const std::string name = path.filename().string();
  const size_t end = name.rfind(".tmp");
  if (!name.starts_with('.') || end == 0 || end == name.npos) return 0;
  const char *from = name.data() + name.rfind('.', end - 1) + 1, *to = name.data() + end;
  pid_t pid = 0;
  const auto [stop, error] = std::from_chars(from, to, pid);
  const bool fits = error == std::errc() && pid > 0 && (stop == to || *stop == '-');
  return fits ? pid : 0;
}

/// Whether a run writes below this folder. Others may lie in its output too, evaluations' reports.
bool is_ours(const fs::path& folder) {
  const std::string name = folder.filename().string();
  return name == "best" || name == "checkpoints" || name == "samples" || name.starts_with("ema-") ||
         name.starts_with("step-");
}

/// Containers give their first processes the same few numbers again and again, this one's too.
bool is_gone(pid_t pid) { return pid == ::getpid() || (::kill(pid, 0) != 0 && errno == ESRCH); }

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
    save_model(task, options.output / ("ema-" + state.averages[i].averaging.name));
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

/// Models of steps beyond this one, of an earlier run in the folder, go first.
void keep_last(const fs::path& folder, int64_t count, int64_t current) {
  std::vector<std::tuple<bool, int64_t, fs::path>> kept;
  for (const auto& entry : fs::directory_iterator(folder))
    if (const int64_t step = step_of(entry.path()); step >= 0)
      kept.emplace_back(step <= current, step, entry.path());
  std::sort(kept.begin(), kept.end());
  for (int64_t i = 0; i + count < std::ssize(kept); ++i) fs::remove_all(std::get<2>(kept[i]));
}

}  // namespace

void resume(const TrainOptions& options, TrainState& state) {
  const fs::path file = state_file(options);
  if (!fs::exists(file)) return;
  const std::string data = state.data;
  const auto changes = load_state(file, state, run_line(options), kMayChange);
  const std::string from = "train: from step " + std::to_string(state.step) + " on ";
  if (!changes.empty()) std::cerr << from << "with " << enumerate(changes) << ".\n";
  if (!state.data.empty() && state.data != data)
    std::cerr << from << "with other images than before: " << options.data.string()
              << " has others, or under other names.\n";
  state.data = data;
}

void remove_leftovers(const fs::path& output) {
  constexpr int deepest = 2;  // checkpoints/step-N/.model.PID.tmp
  std::error_code failure;
  std::vector<fs::path> leftovers;
  const auto readable = fs::directory_options::skip_permission_denied;
  for (auto at = fs::recursive_directory_iterator(output, readable, failure);
       !failure && at != fs::recursive_directory_iterator(); at.increment(failure)) {
    const pid_t writer = writer_of(at->path());
    if (writer && is_gone(writer)) leftovers.push_back(at->path());
    if (writer || at.depth() == deepest || !is_ours(at->path())) at.disable_recursion_pending();
  }
  for (const auto& path : leftovers) fs::remove_all(path, failure);
}

void save_best(const TrainOptions& options, const TrainTask& task) {
  save_model(task, options.output / "best");
}

bool lacks_checkpoint(const TrainOptions& options, int64_t step) {
  return options.keep && !fs::exists(checkpoint_of(options, step));
}

void save_checkpoint(const TrainOptions& options, const TrainTask& task, const TrainState& state) {
  save_state(state_file(options), state, run_line(options));
  save_model(task, options.output);
  save_other_averages(options, task, state);
  if (!options.keep) return;
  const fs::path model = checkpoint_of(options, state.step);
  save_model(task, model);
  keep_last(model.parent_path(), options.keep, state.step);
}

}  // namespace tiller
