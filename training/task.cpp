#include "training/task.h"

#include <algorithm>

#include "training/pipeline_files.h"

namespace tiller {

std::vector<BatchPart> parts_of(const TrainOptions& options) {
  const int64_t first = options.launch.rank * options.batch, end = first + options.batch;
  const int64_t most = options.microbatch ? options.microbatch : options.batch;
  std::vector<BatchPart> parts;
  for (int64_t at = first; at < end; at += most) parts.push_back({at, std::min(most, end - at)});
  return parts;
}

std::unique_ptr<TrainTask> train_task(const TrainOptions& options) {
  const auto& config = options.config;
  if (config.value("_class_name", nlohmann::json()) == "AutoencoderKL")
    return autoencoder_task(options);
  if (config.contains("unet"))
    return describes_text(config) ? text_to_image_task(options) : class_to_image_task(options);
  return adm_task(options);
}

}  // namespace tiller
