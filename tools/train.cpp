#include "training/trainer.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "io/error.h"
#include "io/json.h"
#include "io/progress.h"
#include "models/adm_config.h"
#include "models/device.h"
#include "tools/chosen_device.h"
#include "tools/training_distance.h"
#include "training/gradient_step.h"
#include "training/log.h"

namespace tiller {
namespace {

constexpr int64_t most_steps = 1'000'000'000;

nlohmann::json read_config(const fs::path& path) {
  const auto json = parse_json(read_file(path, 1 << 20));
  if (!json.is_object())
    throw Error(path.string() + ": got text that isn't a JSON object, expected a model's config.");
  return json;
}

bool on_off(const Flags& flags, const std::string& flag, bool fallback) {
  return flags.choice(flag, {"on", "off"}, fallback ? "on" : "off") == "on";
}

std::vector<Averaging> read_averages(const std::vector<std::string>& texts) {
  std::vector<Averaging> averages;
  for (const auto& text : texts) averages.push_back(averaging_from(text));
  for (size_t i = 0; i < averages.size(); ++i)
    for (size_t k = 0; k < i; ++k)
      if (averages[i].name == averages[k].name)
        throw UsageError("--ema: got '" + averages[i].name + "' twice, expected it once.");
  return averages;
}

TrainOptions::Autocast read_autocast(const Flags& flags) {
  if (flags.has("bf16") && flags.has("fp16"))
    throw UsageError("train: got --bf16 and --fp16, expected one of them.");
  if (flags.has("bf16")) return TrainOptions::Autocast::bfloat16;
  return flags.has("fp16") ? TrainOptions::Autocast::float16 : TrainOptions::Autocast::none;
}

void read_optimiser(const Flags& flags, TrainOptions& options) {
  options.steps = flags.integer("steps", 1, most_steps, options.steps);
  options.batch = flags.integer("batch", 1, 1 << 20, options.batch);
  options.learning_rate = flags.number("lr", 0, 10, options.learning_rate);
  options.warmup = flags.integer("warmup", 0, most_steps, options.warmup);
  options.cooldown = flags.integer("cooldown", 0, most_steps, options.cooldown);
  options.weight_decay = flags.number("weight-decay", 0, 10, options.weight_decay);
  options.clip = flags.number("clip", 0, 1e9, options.clip);
  options.recompute = flags.has("gradient-checkpointing");
  options.microbatch = flags.integer("microbatch", 1, 1 << 20, options.microbatch);
  if (flags.has("ema")) options.ema = read_averages(flags.all("ema"));
  options.autocast = read_autocast(flags);
  options.device = chosen_device(device_of_process(flags.text("device", "auto"), options.launch));
  if (flags.has("fp16") && options.device.is_cpu())
    throw UsageError("train: got --fp16 on the CPU, which is slow at it. Use --bf16.");
  options.seed = flags.seed("seed", options.seed);
}

void read_objective(const Flags& flags, TrainOptions& options) {
  options.input_perturbation =
      flags.number("input-perturbation", 0, 10, options.input_perturbation);
  options.input_perturbation_given = flags.has("input-perturbation");
  options.timesteps = timestep_rule_from(flags.text("timesteps", "uniform"));
  options.augmented = flags.integer("pfgmpp", 1, AdmConfig::most_augmented, options.augmented);
  options.min_snr = flags.number("min-snr", 0, 1e6, options.min_snr);
  options.label_dropout = flags.number("label-dropout", 0, 1, options.label_dropout);
  options.label_dropout_given = flags.has("label-dropout");
  options.balance = flags.number("balance", 0, 1, options.balance);
  options.flip = on_off(flags, "flip", options.flip);
}

void read_intervals(const Flags& flags, TrainOptions& options) {
  options.log_every = flags.integer("log-every", 1, most_steps, options.log_every);
  options.save_every = flags.integer("save-every", 1, most_steps, options.save_every);
  options.sample_every = flags.integer("sample-every", 0, most_steps, options.sample_every);
  options.keep = flags.integer("keep", 0, 1000, options.keep);
  options.sample_guidance = flags.text("sample-guidance", options.sample_guidance);
}

/// What --json prints: of the log the last line, and that of the last distance.
std::string result_of(const TrainOptions& options, int64_t steps) {
  using Json = nlohmann::ordered_json;
  Json result = {{"output", options.output.string()}, {"steps", steps}, {"log", nullptr}};
  for_each_line(options.output / "log.jsonl", [&](const std::string&, const Json& line) {
    if (line.contains("loss")) result["log"] = line;
    if (line.contains(options.distance.name)) result["distance"] = line;
  });
  return indented(result);
}

void note_float32(const Flags& flags, const TrainOptions& options) {
  const bool told = flags.has("quiet") || flags.has("json") || options.launch.rank > 0;
  if (flags.has("bf16") && computes_in_float32(options) && !told)
    std::fprintf(stderr,
                 "--bf16: this processor has no instructions for bfloat16; training in float32, "
                 "which takes less time.\n");
}

int run_train(const Flags& flags) {
  if (flags.has("threads")) at::set_num_threads(int(flags.integer("threads", 1, 4096, 1)));
  Progress::set_quiet(flags.has("quiet"));
  TrainOptions options;
  options.launch = launch_from_environment();
  options.data = flags.required("data", "images to train on");
  options.output = flags.required("output", "a folder for the model");
  options.config_file = flags.required("model-config", "a config of what to train");
  options.config = read_config(options.config_file);
  options.data_cache = flags.text("data-cache");
  options.initial = flags.text("initial");
  read_optimiser(flags, options);
  read_objective(flags, options);
  read_intervals(flags, options);
  Processes processes(options.launch);  // the others wait while the first reads the reference
  options.distance = distance_measure(flags, options);
  note_float32(flags, options);
  const int64_t steps = train(options, processes);
  if (flags.has("json") && !options.launch.rank) std::cout << result_of(options, steps) << "\n";
  if (steps < options.steps && !options.launch.rank)
    throw Error("train: stopped at step " + std::to_string(steps) + " of " +
                std::to_string(options.steps) + ", which is saved; the same command goes on.");
  return steps < options.steps;
}

std::vector<Flag> train_flags() {
  std::vector<Flag> flags = {
      {"data", "PATH",
       "images: folder, tar, zip, webdataset shards, .npz, CIFAR-10 or MNIST files"},
      {"model-config", "FILE", "ADM flags, or an autoencoder's or a pipeline's config"},
      {"data-cache", "DIR",
       "decode once into DIR and map it: data beyond memory, shared by a machine's processes",
       Flag::rare},
      {"output", "DIR", "model, state, log.jsonl and samples; resumes what it holds"},
      {"initial", "PATH", "weights (of a pipeline its folder) to begin with"},
      {"steps", "N", "default 100000"},
      {"batch", "N", "images a step and process; default 128"},
      {"gradient-checkpointing", "",
       "compute blocks again in the backward pass: less memory, more time", Flag::rare},
      {"microbatch", "N", "images at a time, whose gradients add up; default: the batch",
       Flag::rare},
      {"lr", "X", "AdamW's learning rate; default 1e-4"},
      {"warmup", "N", "steps over which it rises from zero; default 500"},
      {"cooldown", "N", "last steps, over which it falls to zero; default 0"},
      {"weight-decay", "X", "default 0", Flag::rare},
      {"clip", "X", "largest norm of the gradient, 0: not clipped; default 1"},
      {"ema", "X",
       "repeats: decay of averaged weights, half-life=IMAGES or power=WIDTH; default 0.9999",
       Flag::common, true},
      {"input-perturbation", "X", "DDPM-IP's gamma (arXiv 2301.11706), 0: plain DDPM; default 0.1"},
      {"pfgmpp", "D",
       "PFGM++'s augmented dimensions (arXiv 2302.04265), of an edm model; default: infinite",
       Flag::rare},
      {"timesteps", "RULE", "which are trained on: uniform (default) or loss-second-moment",
       Flag::rare},
      {"min-snr", "X", "min-SNR weighting's gamma (arXiv 2303.09556), 0: none; default 0",
       Flag::rare},
      {"label-dropout", "X", "share of labels or captions dropped, for cfg; default 0.1"},
      {"balance", "X", "0 to 1: how far small groups catch up with large ones; default 0",
       Flag::rare},
      {"flip", "on|off", "mirror half of the images; default on"},
      {"bf16", "", "autocast to bfloat16"},
      {"fp16", "", "autocast to float16, with a loss scale that follows overflows"},
      {"seed", "N", "default 0"},
      {"device", "NAME", "auto, cpu, cuda or cuda:N; default auto"},
      {"threads", "N", "CPU threads; default: one a core, no more than a container may use"},
      {"log-every", "N", "steps between lines of log.jsonl; default 50"},
      {"save-every", "N", "steps between checkpoints; default 1000"},
      {"keep", "N", "last checkpoints kept as models in checkpoints/; default 0", Flag::rare},
      {"sample-every", "N", "steps between sample grids, 0: none; default 5000"},
      {"sample-guidance", "TEXT", "guidance of the sample grids, such as cfg:scale=2"},
      {"json", "", "at the end one JSON object on standard output", Flag::rare},
      {"quiet", "", "no progress"}};
  flags.insert(flags.end() - 2, distance_flags().begin(), distance_flags().end());
  return flags;
}

}  // namespace

Command train_command() {
  return {.name = "train",
          .description = "Trains a class-conditional, autoencoder or text-to-image model; resumes.",
          .operand = "",
          .flags = train_flags(),
          .examples = {"tiller train --data cifar10/ --model-config config.json --output run/",
                       "tiller train --data emoji/ --model-config training/configs/emoji.json "
                       "--output model/"},
          .run = run_train};
}

}  // namespace tiller
