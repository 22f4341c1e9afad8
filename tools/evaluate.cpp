#include "tools/evaluate.h"

#include <algorithm>

#include "io/error.h"
#include "io/progress.h"
#include "tools/outputs.h"
#include "tools/request.h"
#include "tools/together.h"

namespace tiller {
namespace {

/// A kind of evaluation: one line each.
struct Task {
  std::string name;
  int (*run)(const Flags&);
  std::vector<std::string> asked_by;  ///< Flags that say so where --task doesn't.
};

const std::vector<Task>& tasks() {
  static const std::vector<Task> all = {{"images", evaluate_images, {"images"}},
                                        {"schemes", evaluate_schemes, {"scheme", "schemes"}},
                                        {"inversion", evaluate_inversion, {}},
                                        {"editing", evaluate_editing, {}}};
  return all;
}

using Names = std::vector<std::string>;

/// A flag and the tasks that know it; none: all.
struct TaskFlag {
  Flag flag;
  Names tasks;
};

const Names on_data = {"inversion", "editing"}, on_sets = {"images", "schemes"},
            by_model = {"schemes", "inversion", "editing"};

/// Of sets of images.
std::vector<TaskFlag> set_flags() {
  const Flag::Use rare = Flag::rare;
  return {
      {{"images", "PATH", "images to compare: folder, tar, zip, CIFAR-10, MNIST, .npz"},
       {"images"}},
      {{"scheme", "GUIDANCE", "repeats: a way to make images; braces: cfg:scale={1,2}",
        Flag::common, true},
       {"schemes"}},
      {{"schemes", "FILE", "YAML or JSON: a list of these", rare, true}, {"schemes"}},
      {{"reference", "PATH", "real images likewise, or a .npz of statistics (mu, sigma)"}, on_sets},
      {{"features", "NAME[:KEY=VALUE,...]",
        "repeats: efficientnet-lite0 (default), inception, cifar-resnet, script", Flag::common,
        true},
       on_sets},
      {{"metrics", "NAME,...", "of fid, kid, is, pr, prdc, sfid, fid-infinity, cmmd, vendi",
        Flag::common, true},
       on_sets},
      {{"resize", "RULE", "pytorch-fid, tf1, clean or bicubic; default: the network's"}, on_sets},
      {{"samples", "N", "images a scheme; default 1000"}, {"schemes"}},
      {{"keep-images", "", "write all images to OUTPUT/images", rare}, {"schemes"}},
      {{"strict", "", "fail on an image that can't be decoded; else it is left out", rare},
       {"images"}},
      {{"save-statistics", "FILE", "of --images, a .npz for --reference", rare}, {"images"}}};
}

/// Of methods on images of one's own.
std::vector<TaskFlag> data_flags() {
  const Flag::Use rare = Flag::rare;
  return {
      {{"task", "NAME", "what to evaluate else: inversion or editing"}, {}},
      {{"data", "PATH", "images: a folder (or tar), CIFAR-10 or MNIST; to edit also PIE-Bench"},
       on_data},
      {{"count", "N", "the first N images; default: all"}, {"images", "inversion", "editing"}},
      {{"method", "SAMPLER", "repeats; for editing 'SAMPLER + CONTROL + blend'; default: all",
        Flag::common, true},
       on_data},
      {{"output", "DIR", "index.html, results.json, results.csv; resumes what it holds"}, by_model},
      {{"steps", "N", "sampling steps; default 30, for inversion and editing 50"}, by_model},
      {{"class", "NAME", "for all images; default: each image's own, or all in turn", Flag::common,
        true},
       by_model},
      {{"prompt", "TEXT", "for all images; default: each image's caption, else its class",
        Flag::common, true},
       by_model},
      {{"prompt-file", "FILE", "for --scheme: a prompt on each line, in turn", rare}, {"schemes"}},
      {{"lpips", "FILE", "repeats: weights for LPIPS, its heads and their network", rare, true},
       on_data},
      {{"structure", "FILE", "DINO's ViT-B/8, to compare structure before and after editing", rare},
       {"editing"}},
      {{"clip", "DIR", "CLIP, to compare images with their prompts: the CLIP score", rare},
       {"schemes", "editing"}},
      {{"edit-prompt", "TEXT", "what all images are to show; PIE-Bench says it of each", rare},
       {"editing"}},
      {{"edit-class", "NAME", "the same for models that know classes", rare}, {"editing"}},
      {{"edit-from", "X", "share of the steps undone, of all methods; default 1", rare},
       {"editing"}},
      {{"edit-guidance", "NAME[:key=value,...]", "of the way back; default: --guidance", rare},
       {"editing"}},
      {{"parallel", "HOW[:key=value,...]", "picard, jacobi, gauss-seidel, taa: steps at once",
        rare},
       {"schemes"}},
      {{"pictures", "N", "images shown in the report; default 4, of schemes 16", rare}, by_model}};
}

/// Flags of a request that say the same here, with the same help.
std::vector<TaskFlag> request_task_flags() {
  const std::vector<std::pair<std::string, Names>> shared = {
      {"model", by_model},
      {"sampler", {"schemes"}},
      {"cache", {"schemes"}},
      {"guidance", on_data},
      {"negative-prompt", by_model},
      {"batch", {"images", "schemes", "inversion"}},
      {"size", by_model},
      {"seed", by_model},
      {"rng", {"schemes"}},
      {"clip-denoised", {"schemes"}},
      {"device", {}},
      {"dtype", by_model},
      {"fp8", by_model},
      {"threads", {}},
      {"unet", by_model},
      {"vae", by_model},
      {"taesd", by_model},
      {"config", by_model},
      {"prediction-type", by_model},
      {"plain-prompt", by_model},
      {"clip-skip", by_model},
      {"embedded-guidance", by_model},
      {"share", by_model},
      {"vae-tiling", by_model}};
  std::vector<TaskFlag> flags;
  for (const auto& [name, of] : shared)
    for (const auto& flag : request_flags())
      if (flag.name == name) flags.push_back({flag, of});
  return flags;
}

const std::vector<TaskFlag>& task_flags() {
  static const std::vector<TaskFlag> all = [] {
    std::vector<TaskFlag> flags = set_flags();
    for (const auto& more : {data_flags(), request_task_flags()})
      flags.insert(flags.end(), more.begin(), more.end());
    flags.push_back(
        {{"json", "FILE", "the results; -: on standard output, in place of the table"}, {}});
    flags.push_back({{"quiet", "", "no progress"}, {}});
    return flags;
  }();
  return all;
}

std::vector<Flag> evaluate_flags() {
  std::vector<Flag> flags;
  for (const auto& flag : task_flags()) flags.push_back(flag.flag);
  return flags;
}

const Task& chosen_task(const Flags& flags) {
  Names names;
  for (const auto& task : tasks()) names.push_back(task.name);
  const std::string name = flags.has("task") ? flags.choice("task", names, "") : "";
  for (const auto& task : tasks()) {
    const bool asked = std::any_of(task.asked_by.begin(), task.asked_by.end(),
                                   [&](const std::string& flag) { return flags.has(flag); });
    if (name.empty() ? asked : task.name == name) return task;
  }
  throw UsageError("evaluate: got no --images, --scheme or --task, expected one. Tasks: " +
                   enumerate(names) + ".");
}

/// Throws UsageError where a flag was given that the task doesn't know.
void refuse_foreign(const Flags& flags, const Task& task) {
  for (const auto& [flag, of] : task_flags())
    if (flags.has(flag.name) && !of.empty() &&
        std::find(of.begin(), of.end(), task.name) == of.end())
      throw UsageError("--" + flag.name + ": got it, expected none when evaluating " + task.name +
                       ".");
}

int evaluate(const Flags& flags) {
  Progress::set_quiet(flags.has("quiet") || flags.text("json") == "-");
  const Task& task = chosen_task(flags);
  refuse_foreign(flags, task);
  if (task.name != "schemes") require_one_process("evaluate " + task.name);
  if (flags.has("json") && flags.text("json") != "-")
    require_writable_file("--json", flags.text("json"));
  return task.run(flags);
}

}  // namespace

Command evaluate_command() {
  return {.name = "evaluate",
          .description = "Compares sets of images, and methods side by side on your images.",
          .operand = "",
          .flags = evaluate_flags(),
          .examples =
              {
                  "tiller evaluate --reference cifar10/ --scheme none --scheme 'cfg:scale={1.5,2}' "
                  "--output report",
                  "tiller evaluate --images made/ --reference real/ --metrics fid,kid,pr",
              },
          .run = evaluate};
}

}  // namespace tiller
