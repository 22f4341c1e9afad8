#include "training/trainer.h"

#include <ATen/ATen.h>

#include <chrono>
#include <iostream>

#include "io/hash.h"
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

/// Tells data sets apart: a hash of which images the first batches have, which depends on how many
/// there are and on their names.
std::string data_of(const TrainOptions& options, TrainTask& task) {
  constexpr int64_t images = 64;
  const int64_t batch = options.whole_batch();
  std::string names;
  for (int64_t i = 0; i < images; ++i) names += task.image_name(i / batch, i % batch) + "\n";
  return sha256_of(names).substr(0, 16);
}

class Trainer {
 public:
  Trainer(const TrainOptions&, TrainTask&, TrainingGroup&, Processes&);
  int64_t run();  ///< Returns the steps that are done.

 private:
  void resume_log();
  bool done();
  double rate() const;
  double mean_loss() const {
    return state_.loss_sum / double(std::max<int64_t>(1, state_.loss_steps));
  }
  void write_log(const StepOutcome&, double learning_rate);
  fs::path grid() const {
    return options_.output / "samples" / ("step-" + std::to_string(state_.step) + ".png");
  }
  void save();
  void sample();
  void measure();
  fs::path attempt() const { return options_.output / ".making-up"; }
  bool begin_making_up() const;
  void make_up();
  void after_step(Progress&);
  void wait_for_first(const std::string& work);
  bool due(int64_t every) const { return every && state_.step % every == 0; }
  bool due_or_last(int64_t every) const {
    return due(every) || (every && state_.step >= options_.steps);
  }

  const TrainOptions& options_;
  TrainTask& task_;
  TrainingGroup& group_;
  Processes& processes_;
  TrainState state_;
  std::optional<TrainLog> log_;  ///< The first process's, as are the events.
  std::optional<EventFile> events_;
  double least_distance_ = 0;  ///< So far.
  int64_t saved_ = -1;         ///< The step that this process last saved.
  int64_t images_ = 0;         ///< Seen since `last_`.
  Clock::time_point start_ = Clock::now(), last_ = start_;
};

Trainer::Trainer(const TrainOptions& options, TrainTask& task, TrainingGroup& group,
                 Processes& processes)
    : options_(options),
      task_(task),
      group_(group),
      processes_(processes),
      state_(initial_state(task.parameters(), task.average(), options.ema)) {
  state_.memory = task.memory();
  if (group.first()) {
    state_.data = data_of(options, task);
    resume(options, state_);
  }
  share_state(group, state_);
  group.average_gradients_of(state_.weights);
  if (group.first()) resume_log();
}

void Trainer::resume_log() {
  remove_leftovers(options_.output);
  log_.emplace(options_.output / "log.jsonl", state_.step);
  events_.emplace(options_.output / "tensorboard", state_.step);
  least_distance_ = least_in(options_.output / "log.jsonl", options_.distance.name);
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

void Trainer::write_log(const StepOutcome& outcome, double learning_rate) {
  const LogLine line{state_.step,
                     mean_loss(),
                     outcome.gradient_norm,
                     learning_rate,
                     double(images_) / seconds_since(last_),
                     seconds_since(start_)};
  if (log_) log_->write(line);
  if (events_) events_->scalars(line.step, scalars_of(line));
  last_ = Clock::now(), images_ = 0;
  state_.loss_sum = 0, state_.loss_steps = 0;
}

void Trainer::save() {
  if (!group_.first() || saved_ == state_.step) return;
  save_checkpoint(options_, task_, state_);
  saved_ = state_.step;
  write_training_page(options_.output);
}

void Trainer::sample() {
  if (!group_.first() || StopSignals::asked()) return;
  task_.preview(grid());
  events_->image(state_.step, "samples", read_file(grid()));
  write_training_page(options_.output);
}

/// Of what was just saved. The log says that it is done, so that comes last.
void Trainer::measure() {
  if (!group_.first() || StopSignals::asked()) return;
  const double distance = options_.distance.of(options_.output);
  if (distance < least_distance_) save_best(options_, task_);
  least_distance_ = std::min(distance, least_distance_);
  log_->write(state_.step, {{options_.distance.name, distance}});
  events_->scalars(state_.step, {{options_.distance.name, distance}});
  write_training_page(options_.output);
}

/// Once: what ended a run a second time may end every one. False: that was tried.
bool Trainer::begin_making_up() const {
  const std::string step = std::to_string(state_.step);
  if (fs::exists(attempt()) && read_file(attempt(), 64) == step) {
    std::cerr << "train: what step " << step
              << " lacks couldn't be made twice; it is left out. Delete " << attempt().string()
              << " to try again.\n";
    return false;
  }
  write_file(attempt(), step);
  return true;
}

/// What a kill kept an earlier run from making of the step that it saved.
void Trainer::make_up() {
  if (!group_.first() || state_.step == 0) return;
  const bool grid_lacks = due_or_last(options_.sample_every) && !fs::exists(grid());
  const bool distance_lacks =
      due_or_last(options_.distance.every) &&
      !has_number(options_.output / "log.jsonl", state_.step, options_.distance.name);
  if (!grid_lacks && !distance_lacks && !lacks_checkpoint(options_, state_.step)) return;
  if (!begin_making_up()) return;
  save();
  if (grid_lacks) sample();
  if (distance_lacks) measure();
  fs::remove(attempt());
}

/// Saves, draws and measures what is due. That isn't training: the images a second don't count it.
void Trainer::after_step(Progress& progress) {
  const Clock::time_point begun = Clock::now();
  const bool measures = due_or_last(options_.distance.every);
  const bool saves = due_or_last(options_.save_every) || measures;
  const bool samples = due_or_last(options_.sample_every);
  if (saves) save();
  if (samples) progress.tell("drawing samples");
  if (samples) sample();
  if (measures) progress.tell("measuring " + options_.distance.name);
  if (measures) measure();
  if (saves || samples) wait_for_first("step " + std::to_string(state_.step));
  last_ += Clock::now() - begun;
}

/// Where the first process may take longer than the half hour that Gloo waits. It stays for the
/// others, which look at its store.
void Trainer::wait_for_first(const std::string& work) {
  if (group_.first())
    processes_.done(work);
  else
    processes_.meet(work);
  Tensor here = at::zeros({1}, at::kInt);
  group_.sum(here);
}

int64_t Trainer::run() {
  const StopSignals signals;
  make_up();
  wait_for_first("resume");
  start_ = last_ = Clock::now();
  const int64_t batch = options_.whole_batch();
  Progress progress("training", options_.steps * batch, "images", state_.step * batch);
  if (group_.first() && state_.step >= options_.steps)
    std::cerr << options_.output.string() << " is at step " << state_.step
              << ", where --steps ends: a larger one goes on.\n";
  while (!done()) {
    const double learning_rate = rate();
    const StepOutcome outcome = gradient_step(options_, task_, state_, group_, learning_rate);
    if (!outcome.overflowed) state_.loss_sum += outcome.loss, ++state_.loss_steps;
    images_ += batch;
    progress.advance(batch, "loss " + std::to_string(mean_loss()).substr(0, 6));
    if (due(std::min(options_.log_every, options_.steps))) write_log(outcome, learning_rate);
    after_step(progress);
  }
  progress.finish();
  save();
  wait_for_first("end");
  return state_.step;
}

}  // namespace

int64_t train(const TrainOptions& options) {
  Processes processes(options.launch);
  return train(options, processes);
}

int64_t train(const TrainOptions& options, Processes& processes) {
  processes.meet("train");  // c10d's groups don't notice those that have given up
  TrainingGroup group(processes);
  group.connect_gpus(options.device);
  if (!group.first()) Progress::set_quiet(true);
  const auto task = train_task(options);
  processes.meet("data");
  return Trainer(options, *task, group, processes).run();
}

}  // namespace tiller
