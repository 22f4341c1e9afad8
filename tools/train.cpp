#include <ATen/Parallel.h>

#include "io/error.h"
#include "io/progress.h"
#include "tools/command.h"
#include "training/trainer.h"

namespace tiller {
namespace {

constexpr int64_t kMany = int64_t{1} << 40;

nlohmann::json config_from(const fs::path& path) {
  auto json = nlohmann::json::parse(read_file(path, size_t{1} << 24), nullptr, false);
  if (json.is_discarded())
    throw Error(path.string() + ": got text that is not JSON, expected guided-diffusion's flags.");
  return json;
}

std::string required(const Flags& flags, const std::string& name, const std::string& what) {
  if (flags.has(name)) return flags.text(name);
  throw UsageError("train: got no --" + name + ", expected " + what + ".");
}

TrainOptions options_from(const Flags& flags) {
  TrainOptions o;
  o.data = required(flags, "data", "images to train on");
  o.config_file = required(flags, "model-config", "a JSON file of guided-diffusion's flags");
  o.output = required(flags, "output", "a folder");
  o.config = config_from(o.config_file);
  o.initial = flags.text("initial-weights");
  o.steps = flags.integer("steps", 1, kMany, o.steps);
  o.batch = flags.integer("batch", 1, 1 << 20, o.batch);
  o.learning_rate = flags.number("learning-rate", 0, 1, o.learning_rate);
  o.warmup = flags.integer("warmup", 0, kMany, o.warmup);
  o.weight_decay = flags.number("weight-decay", 0, 1, o.weight_decay);
  o.clip = flags.number("clip", 0, 1e9, o.clip);
  o.ema = flags.number("ema", 0, 1, o.ema);
  o.input_perturbation = flags.number("input-perturbation", 0, 1, o.input_perturbation);
  o.label_dropout = flags.number("label-dropout", 0, 1, o.label_dropout);
  o.flip = flags.choice("flip", {"on", "off"}, "on") == "on";
  o.bf16 = flags.choice("precision", {"float32", "bfloat16"}, "float32") == "bfloat16";
  o.seed = flags.seed("seed", o.seed);
  o.log_every = flags.integer("log-every", 1, kMany, o.log_every);
  o.save_every = flags.integer("save-every", 1, kMany, o.save_every);
  o.sample_every = flags.integer("sample-every", 0, kMany, o.sample_every);
  o.sample_guidance = flags.text("sample-guidance");
  return o;
}

int run(const Flags& flags) {
  Progress::set_quiet(flags.has("quiet"));
  const int64_t threads = flags.integer("threads", 1, 1024, at::get_num_threads());
  at::set_num_threads(static_cast<int>(threads));
  train(options_from(flags));
  return 0;
}

}  // namespace

Command train_command() {
  return {
      .name = "train",
      .description = "Train an ADM UNet with input perturbation (DDPM-IP); resumes after a kill",
      .operand = "",
      .flags = {{"data", "PATH", "image folder, tar, CIFAR-10 binary or MNIST IDX files"},
                {"model-config", "FILE", "guided-diffusion's flags as JSON"},
                {"output", "DIR", "model, state, log and samples; an earlier run there goes on"},
                {"initial-weights", "FILE", "begin with these instead of fresh ones"},
                {"steps", "N", "steps in all (100000)"},
                {"batch", "N", "images a step (128)"},
                {"learning-rate", "X", "AdamW's, after the warm-up (1e-4)"},
                {"warmup", "N", "steps in which the rate rises from 0 (500)"},
                {"weight-decay", "X", "AdamW's (0)"},
                {"clip", "X", "largest gradient norm; 0: any (1)"},
                {"ema", "X", "decay of the averaged weights (0.9999)"},
                {"input-perturbation", "X", "DDPM-IP's gamma; 0: plain DDPM (0.1)"},
                {"label-dropout", "X",
                 "share of labels hidden, if the config has null_label (0.1)"},
                {"flip", "on|off", "mirror half of the images (on)"},
                {"precision", "TYPE", "float32, or bfloat16 by autocast (float32)"},
                {"seed", "N", "of weights, order and noise (0)"},
                {"log-every", "N", "steps between lines of log.jsonl (50)"},
                {"save-every", "N", "steps between checkpoints (1000)"},
                {"sample-every", "N", "steps between sample grids; 0: none (5000)"},
                {"sample-guidance", "G", "guidance of the sample grids"},
                {"threads", "N", "CPU threads"},
                {"quiet", "", "no progress"}},
      .examples =
          {"tiller train --data cifar-10-batches-bin/ --model-config cifar.json --output run/",
           "tiller train --data photos/ --model-config adm64.json --output run/ "
           "--input-perturbation 0.15 --precision bfloat16"},
      .run = run};
}

}  // namespace tiller
