#include "training/pipeline_checks.h"

#include "io/error.h"
#include "models/unet2d_condition.h"
#include "samplers/scheduler_config.h"
#include "training/network_fit.h"
#include "training/trained_size.h"

namespace tiller {
namespace {

/// Throws UsageError where the UNet can't work on images, or on the VAE's latents.
void check_unet(const TrainOptions& options, const PipelineConfig& config,
                const std::shared_ptr<Autoencoder>& vae) {
  Weights shapes(0, at::kMeta);
  nlohmann::json own = config.unet;
  for (const char* completed : {"_class_name", "cross_attention_dim"})
    if (config.reads_text()) own.erase(completed);
  const auto unet = unet2d_condition(own, shapes);
  const std::string key = options.config_file + ": unet.";
  const std::string whose = vae ? "the vae's latents" : "images";
  const int64_t channels = working_channels(vae);
  require_channels(key + "in_channels", unet->in_channels(), channels, whose);
  require_channels(key + "out_channels", unet->out_channels(), channels, whose);
  require_multiple(key + "sample_size", config.unet.at("sample_size"), unet->size_multiple());
}

}  // namespace

PipelineConfig checked_pipeline(const TrainOptions& options) {
  PipelineConfig config = read_pipeline_config(options.config, options.config_file);
  if (config.reads_text() && !config.unet.value("num_class_embeds", nlohmann::json()).is_null())
    throw UsageError(options.config_file + ": unet.num_class_embeds: got " +
                     printable(config.unet.at("num_class_embeds").dump()) +
                     ", expected none beside a text encoder.");
  const auto setup = read_scheduler_config(config.scheduler);
  if (setup.prediction == PredictionType::edm)
    throw UsageError(options.config_file + ": scheduler._class_name: got " +
                     printable(setup.class_name) +
                     ", expected another: pipelines aren't trained by EDM's objective.");
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
  check_unet(options, config, vae);
  return vae;
}

int64_t working_channels(const std::shared_ptr<Autoencoder>& vae) {
  return vae ? vae->channels() : 3;
}

Weights initial_weights(const TrainOptions& options, const std::string& part) {
  if (options.initial.empty()) return Weights(options.seed, options.device);
  Component component = component_in(options.initial / part);
  return {{std::move(component.tensors), {}}, component.file, at::kFloat, options.device};
}

Objective pipeline_objective(const TrainOptions& options, const PipelineConfig& config) {
  const auto setup = read_scheduler_config(config.scheduler);
  return {.prediction = setup.prediction,
          .schedule = configured_schedule(setup, find_sampler(configured_sampler(setup))),
          .input_perturbation = options.input_perturbation,
          .min_snr = options.min_snr};
}

}  // namespace tiller
