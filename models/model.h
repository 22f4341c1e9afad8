#pragma once
#include <nlohmann/json.hpp>

#include "io/tensor_file.h"
#include "models/adm_config.h"
#include "models/network.h"
#include "models/prediction.h"
#include "models/weights.h"

namespace tiller {

/// A folder or file as the user names it, loaded: the network and what is known of how it was
/// trained.
struct Model {
  std::unique_ptr<Network> network;
  NamedTensors parameters;  ///< The network's tensors, in the checkpoint's order and naming.
  std::string kind;         ///< "adm" or "unet2d_condition".
  nlohmann::json config;    ///< As read, guided-diffusion's flags or diffusers' keys.
  std::string file;         ///< The weights' file name, without the folder.
  std::string hash;         ///< SHA-256 of the weights' file, hexadecimal, first 16 digits.

  int64_t image_size = 0;  ///< The default size in pixels (ADM) or latents.
  int64_t classes = 0;     ///< 0: unconditional. Label `classes` means "no label" where null_label.
  bool null_label = false;  ///< The label embedding has one more row, trained by label dropout.
  std::vector<std::string> class_names;  ///< One a class where the config has them, else empty.

  PredictionType prediction = PredictionType::epsilon;
  bool learned_variance = false;
  std::string noise_schedule = "linear";  ///< guided-diffusion's name.
  int64_t diffusion_steps = 1000;
  bool rescale_timesteps = false;
};

/// What a path holds, without loading tensors. Throws Error when it isn't a model.
struct ModelFiles {
  fs::path config, weights;
  std::string kind;
};
ModelFiles find_model(const fs::path&);

/// Loads an ADM folder (config.json beside model.safetensors, model.pt or any single checkpoint),
/// an ADM weights file with config.json beside it, or a diffusers UNet folder. Weights are cast to
/// `dtype` on `device`. Throws Error naming missing, surplus or misshapen tensors and keys.
Model load_model(const fs::path&, at::ScalarType dtype = at::kFloat, at::Device device = at::kCPU);

/// An ADM model of fresh or loaded weights; without hash, file and config.
Model adm_model(const AdmConfig&, Weights&);

/// A class as the user names it, an index or a name. Throws UsageError, with a suggestion.
int64_t class_index(const Model&, const std::string& name);

}  // namespace tiller
