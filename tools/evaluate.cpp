#include "tools/evaluate.h"

#include <algorithm>

#include "io/error.h"
#include "io/progress.h"
#include "tools/request.h"

namespace tiller {
namespace {

/// A kind of evaluation: one line each.
struct Task {
  std::string name;
  int (*run)(const Flags&);
  std::string flag;  ///< Asks for it where --task doesn't; "": only --task does.
};

const std::vector<Task>& tasks() {
  static const std::vector<Task> all = {{"images", evaluate_images, "images"},
                                        {"inversion", evaluate_inversion, ""},
                                        {"editing", evaluate_editing, ""}};
  return all;
}

using Names = std::vector<std::string>;

/// A flag and the tasks that know it; none: all.
struct TaskFlag {
  Flag flag;
  Names tasks;
};

const Names on_data = {"inversion", "editing"};

std::vector<TaskFlag> own_flags() {
  const Flag::Use rare = Flag::rare;
  return {
      {{"images", "PATH", "images to compare: folder, tar, zip, CIFAR-10, MNIST, .npz"}, {"images"}},
      {{"reference", "PATH", "real images likewise, or a .npz of statistics (mu, sigma)"}, {"images"}},
      {{"features", "NAME[:KEY=VALUE,...]",
        "repeats: efficientnet-lite0 (default), inception, cifar-resnet, script"},
       {"images"}},
      {{"metrics", "NAME,...", "of fid, kid, is, pr, prdc, sfid, fid-infinity, cmmd"}, {"images"}},
      {{"resize", "RULE", "pytorch-fid, tf1, clean or bicubic; default: the network's"}, {"images"}},
      {{"strict", "", "fail on an image that can't be decoded; else it is left out"}, {"images"}},
      {{"save-statistics", "FILE", "of --images, a .npz for --reference", rare}, {"images"}},
      {{"task", "NAME", "other things to evaluate: inversion or editing"}, {}},
      {{"data", "PATH", "images: a folder (or tar), CIFAR-10 or MNIST; to edit also PIE-Bench"},
       on_data},
      {{"count", "N", "the first N images; default: all"}, {}},
      {{"method", "SAMPLER", "repeats; for editing 'SAMPLER + CONTROL + blend'; default: all there are"},
       on_data},
      {{"output", "DIR", "the report: index.html, results.json, results.csv; resumes what it holds"},
       on_data},
      {{"class", "NAME", "for all images; default: each image's own"}, on_data},
      {{"prompt", "TEXT", "for all images; default: each image's caption, else its class"}, on_data},
      {{"lpips", "FILE", "repeats: weights for LPIPS, its heads and their network"}, on_data},
      {{"structure", "FILE", "DINO's ViT-B/8, to compare structure before and after editing", rare},
       {"editing"}},
      {{"clip", "DIR", "CLIP, to compare edited images with what they are to show", rare},
       {"editing"}},
      {{"edit-prompt", "TEXT", "what all images are to show; PIE-Bench says it of each", rare},
       {"editing"}},
      {{"edit-class", "NAME", "the same for models that know classes", rare}, {"editing"}},
      {{"edit-from", "X", "share of the steps undone; default 0.8, with a control 1", rare},
       {"editing"}},
      {{"pictures", "N", "images shown in the report; default 4"}, on_data}};
}

/// Flags of a request that say the same here, with the same help.
std::vector<TaskFlag> request_task_flags() {
  const std::vector<std::pair<std::string, Names>> shared = {
      {"model", on_data},           {"steps", on_data},        {"guidance", on_data},
      {"negative-prompt", on_data}, {"batch", {"images", "inversion"}}, {"size", on_data},
      {"seed", on_data},            {"device", {}},            {"dtype", on_data},
      {"threads", {}},              {"vae", on_data},          {"taesd", on_data},
      {"config", on_data},          {"prediction-type", on_data}, {"plain-prompt", on_data},
      {"clip-skip", on_data},       {"embedded-guidance", on_data}, {"share", on_data},
      {"vae-tiling", on_data}};
  std::vector<TaskFlag> flags;
  for (const auto& [name, of] : shared)
    for (const auto& flag : request_flags())
      if (flag.name == name) flags.push_back({flag, of});
  return flags;
}

const std::vector<TaskFlag>& task_flags() {
  static const std::vector<TaskFlag> all = [] {
    std::vector<TaskFlag> flags = own_flags();
    for (auto& flag : request_task_flags()) flags.push_back(std::move(flag));
    flags.push_back({{"json", "FILE", "the results; -: on standard output, in place of the table"}, {}});
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
  for (const auto& task : tasks())
    if (name.empty() ? !task.flag.empty() && flags.has(task.flag) : task.name == name) return task;
  throw UsageError("evaluate: got neither --images nor --task, expected one. Tasks: " +
                   enumerate(names) + ".");
}

/// Throws UsageError where a flag was given that the task doesn't know.
void refuse_foreign(const Flags& flags, const Task& task) {
  for (const auto& [flag, of] : task_flags())
    if (flags.has(flag.name) && !of.empty() && std::find(of.begin(), of.end(), task.name) == of.end())
      throw UsageError("--" + flag.name + ": got it, expected none when evaluating " + task.name +
                       ".");
}

int evaluate(const Flags& flags) {
  Progress::set_quiet(flags.has("quiet") || flags.text("json") == "-");
  const Task& task = chosen_task(flags);
  refuse_foreign(flags, task);
  return task.run(flags);
}

}  // namespace

Command evaluate_command() {
  return {.name = "evaluate",
          .description = "Compares sets of images, and methods side by side on your images.",
          .operand = "",
          .flags = evaluate_flags(),
          .examples = {"tiller evaluate --images made/ --reference real/ --metrics fid,kid,pr",
                       "tiller evaluate --task inversion --data photos/ --output report"},
          .run = evaluate};
}

}  // namespace tiller
