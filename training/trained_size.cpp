#include "training/trained_size.h"

#include "io/error.h"
#include "models/adm_config.h"
#include "models/latent_adm.h"
#include "training/latents.h"
#include "training/pipeline_files.h"

namespace tiller {
namespace {

bool is_pipeline(const TrainOptions& options) { return options.config.contains("unet"); }

PipelineConfig pipeline_of(const TrainOptions& options) {
  return read_pipeline_config(options.config, options.config_file);
}

}  // namespace

std::shared_ptr<Autoencoder> vae_of(const TrainOptions& options) {
  const fs::path folder = is_pipeline(options) ? pipeline_of(options).vae
                                               : vae_of_config(options.config, options.config_file);
  if (folder.empty()) return nullptr;
  if (fs::is_directory(folder)) return training_vae(folder, options.device);
  throw UsageError(options.config_file + ": vae: got '" + printable(folder.string()) +
                   "', which isn't there, expected a folder. `tiller train` an autoencoder first.");
}

int64_t network_size(const TrainOptions& options) {
  if (is_pipeline(options)) return pipeline_of(options).unet.at("sample_size").get<int64_t>();
  return adm_config(options.config, options.config_file).image_size;
}

int64_t trained_size(const TrainOptions& options, const std::shared_ptr<Autoencoder>& vae) {
  return network_size(options) * (vae ? vae->downscale() : 1);
}

}  // namespace tiller
