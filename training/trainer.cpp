#include "training/trainer.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>

#include <chrono>
#include <cmath>
#include <csignal>

#include "io/error.h"
#include "io/progress.h"
#include "io/safetensors.h"
#include "models/model.h"
#include "training/batches.h"
#include "training/log.h"
#include "training/objective.h"
#include "training/preview.h"
#include "training/random.h"
#include "training/state.h"

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
  return run.dump();
}

Model build(const AdmConfig& config, const TrainOptions& options) {
  Weights weights = options.initial.empty()
                        ? Weights(options.seed, options.device)
                        : Weights(load_tensors(options.initial), options.initial.string(),
                                  at::kFloat, options.device);
  return adm_model(config, weights);
}

/// The config with what the data says of classes.
AdmConfig complete_config(const TrainOptions& options, const Dataset& data) {
  AdmConfig config = adm_config(options.config, options.config_file);
  if (config.learn_sigma)
    throw UsageError(
        "learn_sigma: got true, expected false: a learned variance can't be trained yet.");
  if (!config.class_cond) return config;
  if (!data.labels.defined())
    throw UsageError("class_cond: got true, but " + options.data.string() + " has no labels.");
  const int64_t classes = data.labels.max().item<int64_t>() + 1;
  const auto named = std::ssize(config.class_names);
  if (!config.num_classes)
    config.num_classes = named ? named : std::max(classes, std::ssize(data.class_names));
  if (!named && std::ssize(data.class_names) == config.num_classes)
    config.class_names = data.class_names;
  if (named && !data.class_names.empty() && data.class_names != config.class_names)
    throw UsageError("class_names: got " + enumerate(config.class_names, 4) + " in " +
                     options.config_file + ", expected " + enumerate(data.class_names, 4) +
                     " as in " + options.data.string() + ".");
  if (config.num_classes < classes)
    throw UsageError("num_classes: got " + std::to_string(config.num_classes) +
                     ", expected at least " + std::to_string(classes) + " as in " +
                     options.data.string() + ".");
  return config;
}

class Trainer {
 public:
  Trainer(const TrainOptions&, const AdmConfig&, const Dataset&);
  void run();

 private:
  double step();
  double rate() const;
  double mean_loss() const { return state_.loss_sum / state_.loss_steps; }
  void save();
  void sample();

  const TrainOptions& options_;
  AdmConfig config_;
  Dataset data_;
  Batches batches_;
  NoiseSchedule schedule_;
  Model model_, average_;
  TrainState state_;
  double gradient_norm_ = 0;
};

Trainer::Trainer(const TrainOptions& options, const AdmConfig& config, const Dataset& data)
    : options_(options),
      config_(config),
      data_(data),
      batches_(data_, options.batch, options.seed, options.flip),
      schedule_(guided_diffusion_schedule(config.noise_schedule, config.diffusion_steps,
                                          config.rescale_timesteps)),
      model_(build(config, options)),
      average_(build(config, options)),
      state_(initial_state(model_.parameters, average_.parameters)) {
  const fs::path saved = options.output / "state.safetensors";
  if (fs::exists(saved)) load_state(saved, state_, run_line(options));
}

double Trainer::rate() const {
  const double warmed = options_.warmup ? (state_.step + 1.0) / options_.warmup : 1;
  const double left = options_.steps - state_.step;
  const double cooled = options_.cooldown ? left / options_.cooldown : 1;
  return options_.learning_rate * std::min({1.0, warmed, cooled});
}

double Trainer::step() {
  TrainBatch batch = batches_.at(state_.step);
  const at::Generator generator = step_generator(options_.seed, 4, state_.step, options_.device);
  seed_dropout(options_.seed, state_.step);
  Conditioning conditioning;
  if (config_.class_cond)
    conditioning.label = config_.null_label ? drop_labels(batch.labels, options_.label_dropout,
                                                          config_.num_classes, generator)
                                            : batch.labels;
  const auto example = input_perturbed(batch.images, schedule_, config_.prediction,
                                       options_.input_perturbation, generator);

  const Branch branch{&conditioning, nullptr};
  Rows rows({&branch, 1}, options_.batch, {.share = true, .training = true});
  Tensor loss;
  {
    const Autocast autocast(options_.device.type(), options_.bf16);
    loss = simple_loss(model_.network->forward(example.x, example.timesteps, rows), example.target);
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
  NamedTensors average;
  for (size_t i = 0; i < state_.names.size(); ++i)
    average.emplace_back(state_.names[i], state_.average[i]);
  save_safetensors(options_.output / "model.safetensors", average);
}

void Trainer::sample() {
  const std::string name = "step-" + std::to_string(state_.step) + ".png";
  write_preview(options_.output / "samples" / name, average_, options_.sample_guidance,
                options_.seed);
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
      log.write({state_.step, mean_loss(), gradient_norm_, rate(), images / seconds_since(last),
                 seconds_since(start)});
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

/// The config as a model's config.json has it: what was given, and what the data added.
nlohmann::json written_config(const TrainOptions& options, const AdmConfig& config) {
  nlohmann::json json = options.config;
  if (config.class_cond) json["num_classes"] = config.num_classes;
  if (!config.class_names.empty()) json["class_names"] = config.class_names;
  return json;
}

}  // namespace

void train(const TrainOptions& options) {
  const int64_t size = adm_config(options.config, options.config_file).image_size;
  Dataset data = load_dataset(options.data, size);
  const AdmConfig config = complete_config(options, data);
  if (!options.device.is_cpu()) {
    data.images = data.images.to(options.device);
    if (data.labels.defined()) data.labels = data.labels.to(options.device);
  }
  Trainer trainer(options, config, data);
  write_file(options.output / "config.json", written_config(options, config).dump(2) + "\n");
  trainer.run();
}

}  // namespace tiller
