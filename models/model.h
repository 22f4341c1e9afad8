#pragma once
#include <nlohmann/json.hpp>

#include <future>

#include "io/tensor_file.h"
#include "models/adm_config.h"
#include "models/autoencoder.h"
#include "models/network.h"
#include "models/prediction.h"
#include "models/text_model.h"
#include "models/weights.h"

namespace tiller {

struct EdmConfig;

/// A folder or file as the user names it, loaded: the network and what is known of how it was
/// trained.
struct Model {
  std::unique_ptr<Network> network;
  NamedTensors parameters;  ///< The network's tensors, in the checkpoint's order and naming.
  /// "adm", "song_unet", "dhariwal_unet", "unet2d_condition", "text_to_image" or "class_to_image".
  std::string kind;
  nlohmann::json config;  ///< As read, guided-diffusion's flags or diffusers' keys.
  std::string file;       ///< The weights' file name, without the folder.
  /// SHA-256 of the weights' file, hexadecimal, first 16 digits: reckoned in the background.
  std::shared_future<std::string> hash;

  int64_t image_size = 0;   ///< The default height and width in pixels.
  int64_t image_width = 0;  ///< The default width where it is another one; else 0.
  int64_t pixel_scale = 1;  ///< Pixels a latent's side; 1: the network works on pixels.
  int64_t width = 128;      ///< Channels of the network's first layer.
  int64_t classes = 0;  ///< 0: unconditional. Label `classes` means "no label" where null_label.
  bool null_label = false;  ///< The label embedding has one more row, trained by label dropout.
  std::vector<std::string> class_names;  ///< One a class where the config has them, else empty.

  PredictionType prediction = PredictionType::epsilon;
  bool learned_variance = false;
  bool large_variance = false;  ///< DDPM's, where it isn't learned: the largest sensible one.
  std::string noise_schedule = "linear";  ///< guided-diffusion's name.
  bool zero_terminal_snr = false;         ///< The schedule ends in pure noise.
  int64_t diffusion_steps = 1000;
  bool rescale_timesteps = false;
  double flow_shift = 1;                     ///< Of a flow's sigmas.
  double sigma_min = 0.002, sigma_max = 80;  ///< Of an EDM network.
  std::vector<double> known_sigmas;          ///< Of an EDM network that was trained on these alone.
  int64_t augmented = 0;                     ///< PFGM++'s D; 0: the network isn't PFGM++'s.

  std::shared_ptr<TextModel> text;   ///< Of a text-to-image model; else null.
  std::shared_ptr<Autoencoder> vae;  ///< Null: the network works on pixels.
  nlohmann::json scheduler;          ///< diffusers' scheduler_config.json; null elsewhere.
  int64_t time_ids = 0;              ///< SDXL's numbers of micro-conditioning, 6 or 5; else 0.
  int64_t guidance_channels = 0;     ///< Width of a distilled network's guidance embedding (LCM).
  /// Of a model that `edits`: it reads the image's latents as it has its own, scaled (CosXL).
  bool reads_scaled_image = false;

  /// Whether `scheduler` says how it was trained: that of a diffusers pipeline, if only by default.
  bool has_scheduler() const { return kind == "text_to_image" || kind == "class_to_image"; }
  /// Whether prompts steer it, and not labels.
  bool reads_text() const { return kind == "unet2d_condition" || kind == "text_to_image"; }
  /// Whether it reads an image's latents beside those that it denoises, and changes that image as
  /// the prompt says: InstructPix2Pix, arXiv 2211.09800.
  bool edits() const {
    return reads_text() && network && network->in_channels() == 2 * network->out_channels();
  }
};

/// Takes the default size from a diffusers UNet's config, at the model's pixel_scale.
void take_sample_size(Model&, const nlohmann::json& unet_config);

/// What a path holds, without loading tensors. Throws Error when it isn't a model.
struct ModelFiles {
  fs::path config, weights;
  std::string kind;
};
ModelFiles find_model(const fs::path&);

/// How a model is loaded; the paths are for a text-to-image model alone.
struct LoadOptions {
  fs::path config;   ///< A diffusers folder, whose configs and tokenizers count.
  fs::path vae;      ///< As autoencoder_component reads it.
  bool fp8 = false;  ///< The UNet's layers over tokens keep their weights in FP8, fp8.h.
  fs::path unet;     ///< As replace_unet reads it.
};

/// Loads an ADM folder (config.json beside model.safetensors, model.pt or any single checkpoint),
/// an ADM weights file with config.json beside it, a folder of EDM's networks, a diffusers UNet
/// folder, a diffusers pipeline's folder or a Stable Diffusion checkpoint in one file. Weights are
/// cast to `dtype` (Undefined: left as stored) on `device`. Throws Error naming missing, surplus or
/// misshapen tensors and keys.
Model load_model(const fs::path&, at::ScalarType dtype = at::kFloat, at::Device device = at::kCPU,
                 const LoadOptions& = {});

/// An ADM model of fresh or loaded weights; without hash, file and config.
Model adm_model(const AdmConfig&, Weights&);

/// The same of EDM's networks.
Model edm_model(const EdmConfig&, Weights&);

/// A class as the user names it, an index or a name. Throws UsageError, with a suggestion.
int64_t class_index(const Model&, const std::string& name);

}  // namespace tiller
