#include "models/edm_unet.h"
#include "models/model.h"

namespace tiller {

Model edm_model(const EdmConfig& config, Weights& weights) {
  Model model;
  model.kind = config.dhariwal ? "dhariwal_unet" : "song_unet";
  model.network = edm_unet(config, weights);
  model.parameters = weights.finish();
  model.image_size = config.img_resolution;
  model.width = config.model_channels;
  model.classes = config.label_dim;
  model.null_label = config.label_dim > 0;
  model.class_names = config.class_names;
  model.prediction = PredictionType::edm;
  model.sigma_min = config.sigma_min;
  model.sigma_max = config.sigma_max;
  if (config.preconditioner.kind == EdmPreconditioner::Kind::iddpm) {
    model.known_sigmas = iddpm_sigmas(config.preconditioner);
    model.known_sigmas.pop_back();  // 0 is where a run ends
  }
  model.augmented = config.augmented;
  return model;
}

}  // namespace tiller
