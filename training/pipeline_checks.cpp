#include "training/pipeline_checks.h"

#include "io/error.h"
#include "models/unet2d_condition.h"
#include "samplers/scheduler_config.h"
#include "training/network_fit.h"
#include "training/trained_size.h"

namespace tiller {
namespace {

/// Throws UsageError where the UNet can't work on images, or on the VAE's latents.
void check_unet(const TrainOptions& options, const PipelineConfig& config, const Autoencoder* vae) {
  Weights shapes(0, at::kMeta);
  const auto unet = unet2d_condition(config.unet, shapes);
  const std::string key = options.config_file + ": unet.";
  const std::string whose = vae ? "the vae's latents" : "images";
  const int64_t channels = vae ? vae->channels() : 3;
  require_channels(key + "in_channels", unet->in_channels(), channels, whose);
  require_channels(key + "out_channels", unet->out_channels(), channels, whose);
  require_multiple(key + "sample_size", config.unet.at("sample_size"), unet->size_multiple());
}

}  // namespace

PipelineConfig checked_pipeline(const TrainOptions& options) {
  PipelineConfig config = read_pipeline_config(options.config, options.config_file);
  const auto setup = read_scheduler_config(config.scheduler);
  check_objective(options, setup.prediction);
  if (setup.prediction == PredictionType::epsilon &&
      setup.keys.value("rescale_betas_zero_snr", false))
    throw UsageError(options.config_file +
                     ": scheduler.rescale_betas_zero_snr: got true, expected it with v_prediction "
                     "or sample alone: an epsilon says nothing of pure noise.");
  return config;
}

std::shared_ptr<Autoencoder> fitting_vae(const TrainOptions& options,
                                         const PipelineConfig& config) {
  auto vae = vae_of(options);
  check_unet(options, config, vae.get());
  return vae;
}

Objective pipeline_objective(const TrainOptions& options, const PipelineConfig& config) {
  const auto setup = read_scheduler_config(config.scheduler);
  return {.prediction = setup.prediction,
          .schedule = configured_schedule(setup, find_sampler(configured_sampler(setup))),
          .input_perturbation = options.input_perturbation,
          .min_snr = options.min_snr};
}

}  // namespace tiller
