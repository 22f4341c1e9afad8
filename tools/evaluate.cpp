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
};

const std::vector<Task>& tasks() {
  static const std::vector<Task> all = {{"inversion", evaluate_inversion}};
  return all;
}

int evaluate(const Flags& flags) {
  Progress::set_quiet(flags.has("quiet") || flags.text("json") == "-");
  std::vector<std::string> names;
  for (const auto& task : tasks()) names.push_back(task.name);
  if (flags.has("task")) {
    const std::string name = flags.choice("task", names, "");
    for (const auto& task : tasks())
      if (task.name == name) return task.run(flags);
  }
  if (flags.has("images")) return evaluate_images(flags);
  throw UsageError(
      "evaluate: got neither --images nor --task, expected one. Tasks: " + enumerate(names) + ".");
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
      {"images", "PATH", "images to compare with a reference: folder, tar, zip, CIFAR-10, .npz"},
      {"reference", "PATH", "images likewise, or a .npz of statistics (mu, sigma)"},
      {"features", "NAME:KEY=VALUE,...",
       "repeats: network that compares; default efficientnet-lite0"},
      {"metrics", "NAME,...", "fid, kid, is, pr, prdc, sfid, fid-infinity, cmmd"},
      {"resize", "RULE", "pytorch-fid, tf1, clean or bicubic; default: the network's own"},
      {"strict", "", "fail on an image that can't be decoded, in place of leaving it out"},
      {"save-statistics", "FILE", "of --images, as .npz for --reference"},
      {"task", "NAME", "other things to evaluate: inversion"},
      {"data", "PATH", "images: a folder (classes or captions), tar of one, CIFAR-10 or MNIST"},
      {"count", "N", "the first N images; default: all"},
      {"method", "SAMPLER", "repeats; default: every sampler that has an inverse"},
      {"output", "DIR", "the report: index.html, results.json, results.csv; resumes what it holds"},
      {"class", "NAME", "for all images; default: each image's own"},
      {"prompt", "TEXT", "for all images; default: each image's caption, else its class"},
      {"lpips", "FILE", "repeats: weights for LPIPS, its heads and their network"},
      {"pictures", "N", "images shown in the report; default 4"}};
  for (auto& flag : shared_flags()) flags.push_back(std::move(flag));
  flags.push_back({"json", "FILE", "the results; -: on standard output, in place of the table"});
  flags.push_back({"quiet", "", "no progress"});
  return flags;
}

}  // namespace

Command evaluate_command() {
  return {.name = "evaluate",
          .description = "Compares sets of images, and methods side by side on your images.",
          .operand = "",
          .flags = evaluate_flags(),
          .examples =
              {
                  "tiller evaluate --images made/ --reference real/ --features inception:weights="
                  "FILE.pth --json out.json",
                  "tiller evaluate --task inversion --data cifar10/ --count 200 --output report",
              },
          .run = evaluate};
}

}  // namespace tiller
