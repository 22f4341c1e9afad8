#include <ATen/ATen.h>

#include <iostream>

#include "io/error.h"
#include "io/safetensors.h"
#include "models/adm_unet.h"
#include "models/latent_adm.h"
#include "samplers/defaults.h"
#include "training/class_names.h"
#include "training/foreign_keys.h"
#include "training/labelled_task.h"
#include "training/latents.h"
#include "training/network_fit.h"
#include "training/trained_size.h"
#include "training/training_data.h"

namespace tiller {
namespace {

Model build(const AdmConfig& config, const TrainOptions& options,
            const std::shared_ptr<Autoencoder>& vae) {
  Weights weights = options.initial.empty()
                        ? Weights(options.seed, options.device)
                        : Weights(load_tensors(options.initial), options.initial.string(),
                                  at::kFloat, options.device);
  Model model = adm_model(config, weights);
  if (vae) use_vae(model, vae);
  return model;
}

Dataset load_data(const TrainOptions& options, const std::shared_ptr<Autoencoder>& vae) {
  const int64_t channels = adm_config(options.config, options.config_file).in_channels;
  Dataset data = load_diffusion_data(options, vae, channels);
  if (!vae && data.images.size(1) != channels)
    throw UsageError("in_channels: got " + std::to_string(channels) + ", expected the " +
                     std::to_string(data.images.size(1)) + " of " + options.data.string() + ".");
  return data;
}

/// The config with what --pfgmpp says.
AdmConfig asked_config(const TrainOptions& options) {
  AdmConfig config = adm_config(options.config, options.config_file);
  if (options.augmented && config.augmented && options.augmented != config.augmented)
    throw UsageError("--pfgmpp: got " + std::to_string(options.augmented) + ", expected the " +
                     std::to_string(config.augmented) + " of " + options.config_file + ".");
  if (options.augmented) config.augmented = options.augmented;
  return config;
}

/// The same with what the data says of classes.
AdmConfig complete_config(const TrainOptions& options, const Dataset& data) {
  AdmConfig config = asked_config(options);
  const std::vector<std::string> folders =
      utf8_names(data.class_names, config.class_cond && !options.launch.rank);
  if (!config.class_cond) return config;
  if (!data.labels.defined())
    throw UsageError("class_cond: got true, but " + options.data.string() +
                     " has no labels. Put each class's images into a folder of its own, or set "
                     "class_cond to false.");
  const int64_t classes = data.labels.max().item<int64_t>() + 1;
  const auto named = std::ssize(config.class_names);
  if (!config.num_classes)
    config.num_classes = named ? named : std::max(classes, std::ssize(folders));
  if (!named && std::ssize(folders) == config.num_classes) config.class_names = folders;
  if (named && !folders.empty() && folders != config.class_names)
    throw UsageError("class_names: got " + enumerate(config.class_names, 4) + " in " +
                     options.config_file + ", expected " + enumerate(folders, 4) + " as in " +
                     options.data.string() + ".");
  if (config.num_classes < classes)
    throw UsageError("num_classes: got " + std::to_string(config.num_classes) +
                     ", expected at least " + std::to_string(classes) + " as in " +
                     options.data.string() + ".");
  return config;
}

/// The config as a model's config.json has it: what was given, and what flags and data added.
nlohmann::json written_config(const TrainOptions& options, const AdmConfig& config) {
  nlohmann::json json = without_foreign_keys(options.config);
  if (config.class_cond) json["num_classes"] = config.num_classes;
  if (!config.class_names.empty()) json["class_names"] = config.class_names;
  if (json.contains("vae")) json["vae"] = "vae";
  if (config.augmented) json["pfgmpp"] = config.augmented;
  return json;
}

int64_t size_multiple(AdmConfig config) {
  config.num_classes = std::max<int64_t>(1, config.num_classes);
  Weights shapes(0, at::kMeta);
  return adm_unet(config, shapes)->size_multiple();
}

/// Throws UsageError where two of them have no meaning together.
void check(const TrainOptions& options, const AdmConfig& config) {
  check_foreign_keys(options);
  require_multiple(options.config_file + ": image_size", config.image_size, size_multiple(config));
  check_objective(options, config.prediction);
  if (config.learn_sigma &&
      (config.prediction == PredictionType::edm || is_flow(config.prediction)))
    throw UsageError("learn_sigma: got true with prediction_type " +
                     prediction_type_name(config.prediction) + ", expected epsilon, sample or v.");
  if (config.learn_sigma && config.diffusion_steps < 2)
    throw UsageError("diffusion_steps: got 1 with learn_sigma, expected at least 2.");
  const bool drops = config.class_cond && config.null_label;
  if (!drops && options.label_dropout_given && options.label_dropout > 0 && !options.launch.rank)
    std::cerr << "train: --label-dropout drops nothing: " << options.config_file
              << " lacks class_cond or null_label.\n";
}

Objective objective_of(const TrainOptions& options, const AdmConfig& config, const Model& model) {
  return {.prediction = config.prediction,
          .schedule = schedule_of(model),
          .input_perturbation = options.input_perturbation,
          .min_snr = options.min_snr,
          .augmented = config.augmented,
          .learned_variance = config.learn_sigma,
          .rescaled_bound = config.rescale_learned_sigmas};
}

}  // namespace

std::unique_ptr<TrainTask> adm_task(const TrainOptions& options) {
  check(options, asked_config(options));
  const auto vae = vae_of(options);
  LabelledTraining training;
  training.data = load_data(options, vae);
  const AdmConfig config = complete_config(options, training.data);
  training.model = build(config, options, vae);
  training.average = build(config, options, vae);
  training.vae = vae_of_config(options.config, options.config_file);
  training.objective = objective_of(options, config, training.model);
  training.save = [&options, config, vae = training.vae](const fs::path& folder,
                                                         const NamedTensors& parameters) {
    save_safetensors(folder / "model.safetensors", parameters);
    if (!vae.empty()) copy_vae(vae, folder / "vae");
    write_file(folder / "config.json", written_config(options, config).dump(2) + "\n");
  };
  return labelled_task(options, std::move(training));
}

}  // namespace tiller
