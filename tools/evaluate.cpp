#include "tools/evaluate.h"

#include "io/error.h"
#include "io/progress.h"
#include "tools/request.h"

namespace tiller {
namespace {

/// A kind of evaluation: one line each.
struct Task {
  std::string name;
  int (*run)(const Flags&);
  std::vector<std::string> foreign;  ///< Flags that only other tasks know.
};

const std::vector<Task>& tasks() {
  static const std::vector<Task> all = {
      {"inversion",
       evaluate_inversion,
       {"structure", "clip", "edit-prompt", "edit-class", "edit-from"}},
      {"editing", evaluate_editing, {"batch"}}};
  return all;
}

int evaluate(const Flags& flags) {
  Progress::set_quiet(flags.has("quiet") || flags.has("json"));
  std::vector<std::string> names;
  for (const auto& task : tasks()) names.push_back(task.name);
  const std::string name = flags.choice("task", names, "");
  if (name.empty())
    throw UsageError("evaluate: got no --task, expected one of " + enumerate(names) + ".");
  for (const auto& task : tasks()) {
    if (task.name != name) continue;
    for (const auto& flag : task.foreign)
      if (flags.has(flag))
        throw UsageError("--" + flag + ": got it, expected none with --task " + name + ".");
    return task.run(flags);
  }
  return 2;
}

/// Flags of a request that say the same here, with the same help.
std::vector<Flag> shared_flags() {
  std::vector<Flag> flags;
  for (const std::string name :
       {"model", "steps", "guidance", "negative-prompt", "batch", "size", "seed", "device", "dtype",
        "threads", "vae", "taesd", "config", "prediction-type", "plain-prompt", "clip-skip",
        "embedded-guidance", "share", "vae-tiling"})
    for (const auto& flag : request_flags())
      if (flag.name == name) flags.push_back(flag);
  return flags;
}

std::vector<Flag> evaluate_flags() {
  std::vector<Flag> flags = {
      {"task", "NAME", "what to evaluate: inversion or editing"},
      {"data", "PATH", "images: a folder (or tar), CIFAR-10 or MNIST; to edit also PIE-Bench"},
      {"count", "N", "the first N images; default: all"},
      {"method", "SAMPLER",
       "repeats; for editing 'SAMPLER + CONTROL + blend'; default: all there are"},
      {"output", "DIR", "the report: index.html, results.json, results.csv; resumes what it holds"},
      {"class", "NAME", "for all images; default: each image's own"},
      {"prompt", "TEXT", "for all images; default: each image's caption, else its class"},
      {"lpips", "FILE", "repeats: weights for LPIPS, its heads and their network"},
      {"structure", "FILE", "DINO's ViT-B/8, to compare structure before and after editing"},
      {"clip", "DIR", "CLIP, to compare edited images with what they are to show"},
      {"edit-prompt", "TEXT", "what all images are to show; PIE-Bench says it of each"},
      {"edit-class", "NAME", "the same for models that know classes"},
      {"edit-from", "X", "share of the steps undone; default 0.8, with a control 1"},
      {"pictures", "N", "images shown in the report; default 4"}};
  for (auto& flag : shared_flags()) flags.push_back(std::move(flag));
  flags.push_back({"json", "", "results.json on standard output, in place of the table"});
  flags.push_back({"quiet", "", "no progress"});
  return flags;
}

}  // namespace

Command evaluate_command() {
  return {.name = "evaluate",
          .description = "Measures methods side by side on your images; resumes after a kill.",
          .operand = "",
          .flags = evaluate_flags(),
          .examples =
              {"tiller evaluate --task inversion --data cifar10/ --count 200 --output report",
               "tiller evaluate --task editing --data PIE-Bench/ --model sd15/ --output report"},
          .run = evaluate};
}

}  // namespace tiller
