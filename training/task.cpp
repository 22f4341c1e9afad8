#include "training/task.h"

namespace tiller {

std::unique_ptr<TrainTask> train_task(const TrainOptions& options) {
  const auto& config = options.config;
  if (config.value("_class_name", nlohmann::json()) == "AutoencoderKL")
    return autoencoder_task(options);
  if (config.contains("unet")) return text_to_image_task(options);
  return adm_task(options);
}

}  // namespace tiller
