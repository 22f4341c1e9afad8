#include "training/trainer.h"

#include <chrono>

#include "io/progress.h"
#include "training/checkpoints.h"
#include "training/gradient_step.h"
#include "training/log.h"
#include "training/report.h"
#include "training/share_state.h"
#include "training/stop_signals.h"
#include "training/tensorboard.h"

namespace tiller {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

class Trainer {
 public:
  Trainer(const TrainOptions&, TrainTask&, TrainingGroup&);
  void run();

 private:
  bool done();
  double rate() const;
  double mean_loss() const {
    return state_.loss_sum / double(std::max<int64_t>(1, state_.loss_steps));
  }
  void write_log(const StepOutcome&);
  void save();
  void sample();
  void measure();
  bool due(int64_t every) const { return every && state_.step % every == 0; }

  const TrainOptions& options_;
  TrainTask& task_;
  TrainingGroup& group_;
  TrainState state_;
  std::optional<TrainLog> log_;  ///< The first process's, as are the events.
  std::optional<EventFile> events_;
  double least_distance_ = 0;  ///< So far.
  Clock::time_point start_ = Clock::now(), last_ = start_;
};

Trainer::Trainer(const TrainOptions& options, TrainTask& task, TrainingGroup& group)
    : options_(options),
      task_(task),
      group_(group),
      state_(initial_state(task.parameters(), task.average(), options.ema)) {
  state_.memory = task.memory();
  if (group.first()) resume(options, state_);
  share_state(group, state_);
  group.average_gradients_of(state_.weights);
  if (!group.first()) return;
  log_.emplace(options.output / "log.jsonl", state_.step);
  events_.emplace(options.output / "tensorboard", state_.step);
  least_distance_ = least_in(options.output / "log.jsonl", options.distance.name);
}

double Trainer::rate() const {
  const double warmed = options_.warmup ? (state_.step + 1.0) / options_.warmup : 1;
  const double left = options_.steps - state_.step;
  const double cooled = options_.cooldown ? left / options_.cooldown : 1;
  return options_.learning_rate * std::min({1.0, warmed, cooled});
}

/// All processes stop at the same step, whichever was asked to.
bool Trainer::done() {
  if (state_.step >= options_.steps) return true;
  Tensor asked = at::scalar_tensor(StopSignals::asked() ? 1 : 0, at::kInt);
  group_.sum(asked);
  return asked.item<int>() > 0;
}

void Trainer::write_log(const StepOutcome& outcome) {
  const double images = double(state_.loss_steps * options_.whole_batch());
  const LogLine line{state_.step,
                     mean_loss(),
                     outcome.gradient_norm,
                     rate(),
                     images / seconds_since(last_),
                     seconds_since(start_)};
  if (log_) log_->write(line);
  if (events_) events_->scalars(line.step, scalars_of(line));
  last_ = Clock::now();
  state_.loss_sum = 0, state_.loss_steps = 0;
}

void Trainer::save() {
  if (!group_.first()) return;
  save_checkpoint(options_, task_, state_);
  write_training_page(options_.output);
}

void Trainer::sample() {
  const std::string name = "step-" + std::to_string(state_.step) + ".png";
  if (!group_.first()) return;
  task_.preview(options_.output / "samples" / name);
  events_->image(state_.step, "samples", read_file(options_.output / "samples" / name));
  write_training_page(options_.output);
}

/// Of what was just saved.
void Trainer::measure() {
  if (!group_.first()) return;
  const double distance = options_.distance.of(options_.output);
  log_->write(state_.step, {{options_.distance.name, distance}});
  events_->scalars(state_.step, {{options_.distance.name, distance}});
  if (distance < least_distance_) save_best(options_, task_);
  least_distance_ = std::min(distance, least_distance_);
  write_training_page(options_.output);
}

void Trainer::run() {
  const StopSignals signals;
  const int64_t batch = options_.whole_batch();
  Progress progress("training", options_.steps * batch, "images", state_.step * batch);
  while (!done()) {
    const StepOutcome outcome = gradient_step(options_, task_, state_, group_, rate());
    if (!outcome.overflowed) state_.loss_sum += outcome.loss, ++state_.loss_steps;
    progress.advance(batch, "loss " + std::to_string(mean_loss()).substr(0, 6));
    if (due(options_.log_every)) write_log(outcome);
    if (due(options_.save_every) || due(options_.distance.every)) save();
    if (due(options_.sample_every)) sample();
    if (due(options_.distance.every)) measure();
  }
  progress.finish();
  save();
  if (options_.sample_every) sample();
  if (options_.distance.every && !due(options_.distance.every)) measure();
}

}  // namespace

void train(const TrainOptions& options) {
  const Processes processes(options.launch);
  TrainingGroup group(processes);
  group.connect_gpus(options.device);
  if (!group.first()) Progress::set_quiet(true);
  const auto task = train_task(options);
  Trainer(options, *task, group).run();
}

}  // namespace tiller
