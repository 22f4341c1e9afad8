#include <ATen/ATen.h>

#include <iostream>

#include "io/error.h"
#include "io/safetensors.h"
#include "models/latent_adm.h"
#include "samplers/defaults.h"
#include "training/latents.h"
#include "training/noising.h"
#include "training/preview.h"
#include "training/random.h"
#include "training/task.h"
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

std::shared_ptr<Autoencoder> vae_of(const TrainOptions& options) {
  const fs::path folder = vae_of_config(options.config, options.config_file);
  if (folder.empty()) return nullptr;
  if (fs::is_directory(folder)) return training_vae(folder, options.device);
  throw UsageError(options.config_file + ": vae: got '" + printable(folder.string()) +
                   "', which isn't there, expected a folder. `tiller train` an autoencoder first.");
}

Dataset load_data(const TrainOptions& options, const std::shared_ptr<Autoencoder>& vae) {
  const AdmConfig config = adm_config(options.config, options.config_file);
  if (vae) return load_training_data(options, config.image_size * vae->downscale());
  Dataset data = load_training_data(options, config.image_size, is_flow(config.prediction));
  if (data.images.size(1) != config.in_channels)
    throw UsageError("in_channels: got " + std::to_string(config.in_channels) + ", expected the " +
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
  if (!config.class_cond) return config;
  if (!data.labels.defined())
    throw UsageError("class_cond: got true, but " + options.data.string() + " has no labels.");
  const int64_t classes = data.labels.max().item<int64_t>() + 1;
  const auto named = std::ssize(config.class_names);
  if (!config.num_classes)
    config.num_classes = named ? named : std::max(classes, std::ssize(data.class_names));
  if (!named && std::ssize(data.class_names) == config.num_classes)
    config.class_names = data.class_names;
  if (named && !data.class_names.empty() && data.class_names != config.class_names)
    throw UsageError("class_names: got " + enumerate(config.class_names, 4) + " in " +
                     options.config_file + ", expected " + enumerate(data.class_names, 4) +
                     " as in " + options.data.string() + ".");
  if (config.num_classes < classes)
    throw UsageError("num_classes: got " + std::to_string(config.num_classes) +
                     ", expected at least " + std::to_string(classes) + " as in " +
                     options.data.string() + ".");
  return config;
}

/// The config as a model's config.json has it: what was given, and what flags and data added.
nlohmann::json written_config(const TrainOptions& options, const AdmConfig& config) {
  nlohmann::json json = options.config;
  if (config.class_cond) json["num_classes"] = config.num_classes;
  if (!config.class_names.empty()) json["class_names"] = config.class_names;
  if (json.contains("vae")) json["vae"] = "vae";
  if (config.augmented) json["pfgmpp"] = config.augmented;
  return json;
}

/// Throws UsageError where two of them have no meaning together.
void check(const TrainOptions& options, const AdmConfig& config) {
  check_objective(options, config.prediction);
  if (config.learn_sigma &&
      (config.prediction == PredictionType::edm || is_flow(config.prediction)))
    throw UsageError("learn_sigma: got true with prediction_type " +
                     prediction_type_name(config.prediction) + ", expected epsilon, sample or v.");
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
          .learned_variance = config.learn_sigma};
}

class AdmTask final : public TrainTask {
 public:
  explicit AdmTask(const TrainOptions&);

  NamedTensors parameters() const override { return model_.parameters; }
  NamedTensors average() const override { return average_.parameters; }
  Tensor losses(int64_t step, const BatchPart&) override;
  void learn(const Tensor& losses) override { noising_.learn(losses); }
  NamedTensors memory() const override { return noising_.memory(); }
  std::string image_name(int64_t step, int64_t row) override { return batches_.name_of(step, row); }
  void save(const fs::path& folder) const override;
  void preview(const fs::path& path) const override {
    write_preview(path, average_, options_.sample_guidance, options_.seed);
  }

 private:
  TrainBatch batch_of(int64_t step, const BatchPart&);
  Tensor labels_of(int64_t step, const BatchPart&, const TrainBatch&) const;

  const TrainOptions& options_;
  std::shared_ptr<Autoencoder> vae_;  ///< Null: the network works on pixels.
  Dataset data_;
  AdmConfig config_;
  Batches batches_;
  Model model_, average_;
  Noising noising_;
  Latents latents_;
};

AdmTask::AdmTask(const TrainOptions& options)
    : options_(options),
      vae_(vae_of(options)),
      data_(load_data(options, vae_)),
      config_(complete_config(options, data_)),
      batches_(data_, options),
      model_(build(config_, options, vae_)),
      average_(build(config_, options, vae_)),
      noising_(options, objective_of(options, config_, model_)) {
  check_preview(average_, options.sample_guidance);
  if (vae_)
    latents_ = Latents(*vae_, vae_of_config(options.config, options.config_file), data_, options);
}

/// Latents where there is a VAE.
TrainBatch AdmTask::batch_of(int64_t step, const BatchPart& part) {
  if (!vae_) return batches_.at(step, part);
  TrainBatch batch{.images = latents_.at(batches_, step, part)};
  const Tensor chosen = batches_.indices(step).narrow(0, part.first, part.count);
  if (data_.labels.defined())
    batch.labels = data_.labels.index_select(0, chosen.to(data_.labels.device()));
  return batch;
}

/// Some dropped; undefined without classes.
Tensor AdmTask::labels_of(int64_t step, const BatchPart& part, const TrainBatch& batch) const {
  if (!config_.class_cond) return {};
  if (!config_.null_label) return batch.labels;
  return drop_labels(batch.labels, label_coins(options_, step, part), options_.label_dropout,
                     config_.num_classes);
}

Tensor AdmTask::losses(int64_t step, const BatchPart& part) {
  const TrainBatch batch = batch_of(step, part);
  const Conditioning conditioning{.label = labels_of(step, part, batch)};
  const TrainExample example = noising_.example(step, part, batch.images, batch.noise);
  seed_dropout(options_.seed, step, part.first);
  const Branch branch{&conditioning, nullptr};
  Rows rows({&branch, 1}, part.count, {.training = true, .recompute = options_.recompute});
  return noising_.losses(model_.network->forward(example.x, example.timesteps, rows), example);
}

void AdmTask::save(const fs::path& folder) const {
  save_safetensors(folder / "model.safetensors", average_.parameters);
  if (vae_) copy_vae(vae_of_config(options_.config, options_.config_file), folder / "vae");
  write_file(folder / "config.json", written_config(options_, config_).dump(2) + "\n");
}

}  // namespace

std::unique_ptr<TrainTask> adm_task(const TrainOptions& options) {
  check(options, asked_config(options));
  return std::make_unique<AdmTask>(options);
}

}  // namespace tiller
