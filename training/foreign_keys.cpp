#include "training/foreign_keys.h"

#include <iostream>

#include "io/error.h"

namespace tiller {
namespace {

constexpr const char* kKl = "use_kl";

const std::vector<std::string> kForeign = {
    "batch_size", "data_dir",          "ema_rate",          "fp16_scale_growth", "input_pertub",
    "lr",         "lr_anneal_steps",   "log_interval",      "microbatch",        "schedule_sampler",
    "use_fp16",   "resume_checkpoint", "save_interval",     "use_checkpoint",    "weight_decay",
    "use_ddim",   "clip_denoised",     "timestep_respacing"};

bool is_false(const nlohmann::json& value) {
  return value == false || value == 0 || value == "False" || value == "false";
}

}  // namespace

void check_foreign_keys(const TrainOptions& options) {
  const auto kl = options.config.find(kKl);
  if (kl != options.config.end() && !is_false(*kl))
    throw UsageError(options.config_file + ": use_kl: got " + printable(kl->dump()) +
                     ", expected false: the loss is the squared error, with "
                     "learn_sigma beside the bound.");
  std::vector<std::string> found;
  for (const auto& key : kForeign)
    if (options.config.contains(key)) found.push_back(key);
  if (!found.empty() && !options.launch.rank)
    std::cerr << "train: " << options.config_file << ": " << enumerate(found, found.size())
              << (found.size() == 1 ? " is" : " are")
              << " ignored: what isn't the network's is said by flags of train.\n";
}

nlohmann::json without_foreign_keys(nlohmann::json config) {
  for (const auto& key : kForeign) config.erase(key);
  config.erase(kKl);
  return config;
}

}  // namespace tiller
