#include "models/model.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "io/error.h"
#include "io/hash.h"
#include "io/json.h"
#include "models/adm_unet.h"
#include "models/autoencoder_file.h"
#include "models/class_to_image.h"
#include "models/diffusers_folder.h"
#include "models/edm_config.h"
#include "models/family.h"
#include "models/latent_adm.h"
#include "models/text_to_image.h"
#include "models/unet2d_condition.h"
#include "models/unet2d_config.h"
#include "models/unet_file.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

const std::vector<std::string> kWeightEndings = {".safetensors", ".gguf", ".pt", ".pth", ".ckpt"};

bool is_weights(const fs::path& path) {
  return std::count(kWeightEndings.begin(), kWeightEndings.end(), path.extension().string()) > 0;
}

/// The one file of weights in a folder: by its usual name, else the only one.
fs::path weights_in(const fs::path& folder) {
  for (const char* usual :
       {"model.safetensors", "model.pt", "diffusion_pytorch_model.safetensors",
        "diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.bin"})
    if (fs::is_regular_file(folder / usual)) return folder / usual;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_regular_file() && is_weights(entry.path())) found.push_back(entry.path());
  if (found.size() == 1) return found.front();
  throw Error(folder.string() + ": got " + std::to_string(found.size()) +
              " files of weights, expected model.safetensors or model.pt.");
}

std::string kind_of(const Json& config) {
  if (is_edm_config(config))
    return config.value("_class_name", Json()) == "DhariwalUNet" ? "dhariwal_unet" : "song_unet";
  return config.contains("block_out_channels") ? "unet2d_condition" : "adm";
}

/// Of the file of weights, or of all files of a sharded checkpoint.
std::string digest(const std::vector<fs::path>& files) {
  if (files.size() == 1) return sha256_hex(files.front());
  std::string all;
  for (const auto& file : files) all += sha256_hex(file);
  return sha256_of(all);
}

/// Begun now and waited for where it is wanted.
std::shared_future<std::string> hash_of(const fs::path& weights) {
  const auto files = weight_files(weights);
  return std::async(std::launch::async, [files] { return digest(files).substr(0, 16); }).share();
}

/// A checkpoint in one file, without a config beside it.
bool is_single_file(const fs::path& path) {
  return fs::is_regular_file(path) && is_weights(path) &&
         !fs::exists(path.parent_path() / "config.json");
}

/// The config with the number of classes that the weights have.
AdmConfig counted(AdmConfig config, const Weights& weights, const std::string& file) {
  if (!config.class_cond || config.num_classes) return config;
  const auto rows = weights.shape("label_emb.weight");
  if (rows.empty())
    throw Error(file + ": class_cond: got true, but the weights have no label_emb.weight.");
  config.num_classes = rows[0] - config.null_label;
  return config;
}

}  // namespace

ModelFiles find_model(const fs::path& path) {
  if (!fs::exists(path)) throw Error(path.string() + ": no such file or folder, expected a model.");
  ModelFiles files;
  if (is_diffusers_folder(path))
    return {path / "model_index.json",
            {},
            is_class_pipeline(path) ? "class_to_image" : "text_to_image"};
  if (is_single_file(path)) return {{}, path, "text_to_image"};
  const fs::path folder = fs::is_directory(path) ? path : path.parent_path();
  files.config = folder / "config.json";
  if (!fs::is_regular_file(files.config))
    throw Error(path.string() + ": got no config.json " +
                (fs::is_directory(path) ? "in" : "beside") +
                " it, expected guided-diffusion's flags, a diffusers UNet's config or one that "
                "scripts/convert_edm.py wrote.");
  const Json config = read_json_object(files.config);
  if (const std::string part = lone_part(config); !part.empty())
    throw Error(path.string() + ": got " + part +
                ", a part of a model, expected a network that denoises or a pipeline." +
                (part.starts_with("Autoencoder") ? " --vae reads it." : " --control reads it."));
  files.weights = fs::is_directory(path) ? weights_in(path) : path;
  files.kind = kind_of(config);
  return files;
}

void take_sample_size(Model& model, const Json& unet_config) {
  const auto [height, width] = unet2d_sample_size(unet_config);
  model.image_size = height * model.pixel_scale;
  if (width != height) model.image_width = width * model.pixel_scale;
}

Model adm_model(const AdmConfig& config, Weights& weights) {
  Model model;
  model.kind = "adm";
  model.network = adm_unet(config, weights);
  model.parameters = weights.finish();
  model.image_size = config.image_size;
  model.classes = config.class_cond ? config.num_classes : 0;
  model.null_label = config.class_cond && config.null_label;
  model.class_names = config.class_names;
  model.prediction = config.prediction;
  model.augmented = config.augmented;
  model.learned_variance = config.learn_sigma;
  model.large_variance = !config.learn_sigma && !config.sigma_small;
  model.noise_schedule = config.noise_schedule;
  model.zero_terminal_snr = config.zero_terminal_snr;
  model.flow_shift = config.flow_shift;
  model.diffusion_steps = config.diffusion_steps;
  model.rescale_timesteps = config.rescale_timesteps;
  return model;
}

namespace {

void replace_vae(Components& components, const fs::path& path, bool half) {
  Component vae = autoencoder_component(path, half);
  const auto own = components.parts.find("vae"), unet = components.parts.find("unet");
  if (vae.config.value("_class_name", Json()) != "AutoencoderTiny") {
    if (own != components.parts.end())
      vae.config = with_scaling_of(std::move(vae.config), own->second.config);
    else if (unet != components.parts.end())
      vae.config =
          with_scaling_of(std::move(vae.config),
                          vae_scaling_of(unet->second.config.contains("addition_embed_type")));
  }
  components.parts["vae"] = std::move(vae);
}

bool is_unet_alone(const Components& components) {
  const auto& parts = components.parts;
  return !parts.contains("text_encoder") && !parts.contains("text_encoder_2") &&
         !reads_classes(components.index, parts.at("unet").config);
}

Model load_pipeline(const ModelFiles& files, at::ScalarType dtype, at::Device device,
                    const LoadOptions& options) {
  Components components =
      files.weights.empty() ? diffusers_components(files.config.parent_path(), dtype != at::kFloat)
                            : single_file_components(files.weights);
  if (!options.unet.empty()) replace_unet(components, options.unet, dtype != at::kFloat);
  if (!options.config.empty()) take_configs(components, options.config);
  if (!options.vae.empty()) replace_vae(components, options.vae, dtype != at::kFloat);
  if (!components.parts.contains("unet"))
    throw Error(files.weights.string() +
                ": got a VAE alone, expected a whole checkpoint. --vae takes it with a model.");
  if (!files.weights.empty() && is_unet_alone(components))
    throw Error(files.weights.string() +
                ": got a UNet alone, expected a whole checkpoint. --unet takes it with a model.");
  const fs::path weights = components.parts["unet"].file;
  Model model = pipeline_model(std::move(components), dtype, device, options.fp8);
  model.hash = hash_of(weights);
  return model;
}

}  // namespace

Model load_model(const fs::path& path, at::ScalarType dtype, at::Device device,
                 const LoadOptions& options) {
  const ModelFiles files = find_model(path);
  if (files.config.filename() == "model_index.json" || files.config.empty())
    return load_pipeline(files, dtype, device, options);
  const Json config = read_json_object(files.config);
  Weights weights(map_tensors(files.weights), files.weights.string(), dtype, device);
  weights.fp8 = options.fp8;
  Model model;
  if (files.kind == "adm") {
    const std::string name = files.config.string();
    model = adm_model(counted(adm_config(config, name), weights, name), weights);
    if (const fs::path vae = vae_of_model(path); !vae.empty())
      use_vae(model, load_vae(vae, dtype, device));
  } else if (is_edm_config(config)) {
    model = edm_model(edm_config(config), weights);
  } else {
    model.kind = files.kind;
    model.network = unet2d_condition(config, weights);
    model.parameters = weights.finish();
    take_sample_size(model, config);
  }
  model.config = config;
  model.file = files.weights.filename().string();
  model.hash = hash_of(files.weights);
  return model;
}

int64_t class_index(const Model& model, const std::string& name) {
  if (!model.classes)
    throw UsageError("class: got '" + name + "', but this model knows no classes.");
  const auto& names = model.class_names;
  const auto found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) return found - names.begin();
  const bool digits =
      !name.empty() && name.size() < 10 &&
      std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (digits && std::stoll(name) < model.classes) return std::stoll(name);
  const std::string range = "0 to " + std::to_string(model.classes - 1);
  throw UsageError("class: got '" + name + "', expected " + range +
                   (names.empty() ? "" : " or " + enumerate(names, 12)) + "." +
                   suggestion(name, names));
}

}  // namespace tiller
