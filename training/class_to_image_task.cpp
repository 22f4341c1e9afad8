#include <ATen/ATen.h>

#include "io/error.h"
#include "models/class_to_image.h"
#include "models/unet2d_condition.h"
#include "models/unet2d_config.h"
#include "samplers/scheduler_config.h"
#include "training/class_names.h"
#include "training/labelled_task.h"
#include "training/pipeline_checks.h"
#include "training/trained_size.h"
#include "training/training_data.h"

namespace tiller {
namespace {

/// The width of the tokens that cross-attention reads, all zero; where the config names none.
constexpr int64_t kContextChannels = 8;

Dataset labelled_data(const TrainOptions& options, const std::shared_ptr<Autoencoder>& vae) {
  Dataset data = load_diffusion_data(options, vae, working_channels(vae));
  if (data.labels.defined()) return data;
  throw UsageError(options.data.string() + ": got " + (data.noise.defined() ? "pairs" : "images") +
                   " without classes, expected some, since " + options.config_file +
                   " has no text_encoder and tokenizer.");
}

/// One a class; those without a name have their number.
std::vector<std::string> names_of(const TrainOptions& options, const Dataset& data) {
  std::vector<std::string> names = utf8_names(data.class_names, options.launch.rank == 0);
  const int64_t classes = data.labels.max().item<int64_t>() + 1;
  while (std::ssize(names) < classes) names.push_back(std::to_string(names.size()));
  return names;
}

/// What the data says of classes. The embedding has one row more, the null label's.
void complete(PipelineConfig& config, const TrainOptions& options, const Dataset& data) {
  config.class_names = names_of(options, data);
  const int64_t rows = std::ssize(config.class_names) + 1;
  const auto given = config.unet.find("num_class_embeds");
  if (given != config.unet.end() && !given->is_null() && *given != rows)
    throw UsageError(options.config_file + ": unet.num_class_embeds: got " +
                     printable(given->dump()) + ", expected " + std::to_string(rows) +
                     ", the classes of " + options.data.string() +
                     " and one for none, or to be left out.");
  config.unet["num_class_embeds"] = rows;
  config.unet["_class_name"] = "UNet2DConditionModel";
  config.unet.emplace("cross_attention_dim", kContextChannels);
}

Model build(const TrainOptions& options, const PipelineConfig& config,
            const std::shared_ptr<Autoencoder>& vae) {
  Model model;
  model.config = config.unet;
  take_classes(model, {{"id2label", id_to_label(config.class_names)}});
  Weights weights = initial_weights(options, "unet");
  model.network = unet2d_condition(config.unet, weights);
  model.parameters = weights.finish();
  if (options.initial.empty()) settle(model.parameters);
  model.scheduler = config.scheduler;
  model.prediction = read_scheduler_config(config.scheduler).prediction;
  model.vae = vae;
  model.pixel_scale = vae ? vae->downscale() : 1;
  model.image_size = trained_size(options, vae);
  return model;
}

NamedTensors within_unet(const NamedTensors& parameters) {
  NamedTensors named;
  for (const auto& [name, tensor] : parameters) named.emplace_back("unet." + name, tensor);
  return named;
}

}  // namespace

std::unique_ptr<TrainTask> class_to_image_task(const TrainOptions& options) {
  PipelineConfig config = checked_pipeline(options);
  const auto vae = fitting_vae(options, config);
  LabelledTraining training;
  training.data = labelled_data(options, vae);
  complete(config, options, training.data);
  training.model = build(options, config, vae);
  training.average = build(options, config, vae);
  training.vae = config.vae;
  training.objective = pipeline_objective(options, config);
  training.save = [config](const fs::path& folder, const NamedTensors& parameters) {
    save_pipeline(folder, config, within_unet(parameters));
  };
  // So that every weight has a gradient: without a context some would have none.
  const auto context = at::zeros({1, 1, unet2d_config(config.unet).context_channels},
                                 at::TensorOptions(options.device));
  training.condition = [context](Conditioning& conditioning, int64_t images) {
    conditioning.context = context.expand({images, -1, -1});
  };
  return labelled_task(options, std::move(training));
}

}  // namespace tiller
