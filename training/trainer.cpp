#include "training/trainer.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>

#include <chrono>
#include <cmath>
#include <csignal>

#include "io/error.h"
#include "io/progress.h"
#include "training/log.h"
#include "training/report.h"
#include "training/state.h"
#include "training/task.h"
#include "training/tensorboard.h"

namespace tiller {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

volatile std::sig_atomic_t stop_asked = 0;

/// SIGINT and SIGTERM end the run after the step at hand.
class StopSignals {
 public:
  StopSignals() : interrupt_(std::signal(SIGINT, ask)), terminate_(std::signal(SIGTERM, ask)) {
    stop_asked = 0;
  }
  ~StopSignals() {
    std::signal(SIGINT, interrupt_);
    std::signal(SIGTERM, terminate_);
  }

 private:
  static void ask(int) { stop_asked = 1; }
  void (*interrupt_)(int);
  void (*terminate_)(int);
};

class Autocast {
 public:
  Autocast(at::DeviceType device, bool on) : device_(device), on_(on) {
    if (on_) at::autocast::set_autocast_dtype(device_, at::kBFloat16);
    if (on_) at::autocast::set_autocast_enabled(device_, true);
  }
  ~Autocast() {
    if (!on_) return;
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(device_, false);
  }

 private:
  at::DeviceType device_;
  bool on_;
};

/// Options that a resumed run must share, as one line.
std::string run_line(const TrainOptions& options) {
  nlohmann::json run = {{"config", options.config},
                        {"batch", options.batch},
                        {"lr", options.learning_rate},
                        {"warmup", options.warmup},
                        {"weight_decay", options.weight_decay},
                        {"clip", options.clip},
                        {"ema", options.ema},
                        {"input_perturbation", options.input_perturbation},
                        {"label_dropout", options.label_dropout},
                        {"flip", options.flip},
                        {"bf16", options.bf16},
                        {"seed", options.seed}};
  if (options.balance > 0) run["balance"] = options.balance;
  return run.dump();
}

class Trainer {
 public:
  Trainer(const TrainOptions&, TrainTask&);
  void run();

 private:
  double step();
  double rate() const;
  double mean_loss() const { return state_.loss_sum / state_.loss_steps; }
  void save();
  void sample();

  const TrainOptions& options_;
  TrainTask& task_;
  TrainState state_;
  std::optional<EventFile> events_;
  double gradient_norm_ = 0;
};

Trainer::Trainer(const TrainOptions& options, TrainTask& task)
    : options_(options), task_(task), state_(initial_state(task.parameters(), task.average())) {
  const fs::path saved = options.output / "state.safetensors";
  if (fs::exists(saved)) load_state(saved, state_, run_line(options));
  events_.emplace(options.output / "tensorboard", state_.step);
}

double Trainer::rate() const {
  const double warmed = options_.warmup ? (state_.step + 1.0) / options_.warmup : 1;
  const double left = options_.steps - state_.step;
  const double cooled = options_.cooldown ? left / options_.cooldown : 1;
  return options_.learning_rate * std::min({1.0, warmed, cooled});
}

double Trainer::step() {
  Tensor loss;
  {
    const Autocast autocast(options_.device.type(), options_.bf16);
    loss = task_.loss(state_.step);
  }
  for (auto& weight : state_.weights) weight.mutable_grad() = Tensor();
  loss.backward();
  gradient_norm_ = clip_gradients(state_.weights, options_.clip);
  ++state_.step;
  adamw_step(state_.weights, state_.moments, state_.step,
             {.lr = rate(), .weight_decay = options_.weight_decay});
  update_average(state_, options_.ema);
  return loss.item<double>();
}

void Trainer::save() {
  save_state(options_.output / "state.safetensors", state_, run_line(options_));
  task_.save();
  write_training_page(options_.output);
}

void Trainer::sample() {
  const std::string name = "step-" + std::to_string(state_.step) + ".png";
  task_.preview(options_.output / "samples" / name);
  events_->image(state_.step, "samples", read_file(options_.output / "samples" / name));
  write_training_page(options_.output);
}

void Trainer::run() {
  const StopSignals signals;
  TrainLog log(options_.output / "log.jsonl", state_.step);
  Progress progress("training", options_.steps * options_.batch, "images",
                    state_.step * options_.batch);
  const auto start = Clock::now();
  auto last = start;
  while (state_.step < options_.steps && !stop_asked) {
    const double loss = step();
    if (!std::isfinite(loss))
      throw Error("train: got a loss that isn't finite at step " + std::to_string(state_.step) +
                  ", expected a number. Lower --learning-rate; " + options_.output.string() +
                  " holds the last good state.");
    state_.loss_sum += loss, ++state_.loss_steps;
    progress.advance(options_.batch, "loss " + std::to_string(mean_loss()).substr(0, 6));
    if (state_.step % options_.log_every == 0) {
      const double images = state_.loss_steps * options_.batch;
      const LogLine line{
          state_.step,         mean_loss(), gradient_norm_, rate(), images / seconds_since(last),
          seconds_since(start)};
      log.write(line);
      events_->scalars(line.step, scalars_of(line));
      last = Clock::now();
      state_.loss_sum = 0, state_.loss_steps = 0;
    }
    if (state_.step % options_.save_every == 0) save();
    if (options_.sample_every && state_.step % options_.sample_every == 0) sample();
  }
  progress.finish();
  save();
  if (options_.sample_every) sample();
}

}  // namespace

void train(const TrainOptions& options) {
  const auto task = train_task(options);
  Trainer(options, *task).run();
}

}  // namespace tiller
