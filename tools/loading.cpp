#include "tools/loading.h"

#include <ATen/ATen.h>

#include "io/error.h"
#include "io/physical_memory.h"
#include "models/autoencoder_file.h"
#include "models/edm_preconditioning.h"
#include "models/packed_conv.h"
#include "models/packed_linear.h"
#include "models/text_to_image.h"
#include "models/winograd_conv.h"
#include "tools/adapters.h"
#include "tools/chosen_device.h"

namespace tiller {
namespace {

fs::path source_weights() { return fs::path(TILLER_SOURCE_DIR) / "weights"; }

fs::path installed_weights() {
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  return program.parent_path().parent_path() / "share" / "tiller" / "weights";
}

/// `folder` itself or the first of its folders that holds a model's config.
fs::path model_within(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> candidates = {folder};
  for (const auto& entry : fs::directory_iterator(folder, error)) candidates.push_back(entry);
  std::sort(candidates.begin(), candidates.end());
  for (const auto& candidate : candidates)
    if (fs::exists(candidate / "config.json", error)) return candidate;
  return {};
}

at::ScalarType dtype_from(const std::string& name, at::Device device) {
  if (name == "float16") return at::kHalf;
  if (name == "bfloat16") return at::kBFloat16;
  return name == "auto" && device.is_cuda() ? at::kHalf : at::kFloat;
}

std::string dtype_name(at::ScalarType dtype) {
  return dtype == at::kHalf ? "float16" : dtype == at::kBFloat16 ? "bfloat16" : "float32";
}

/// Adapters are for models that read text, a VAE of their own for pipelines; a prediction type is
/// for all.
void check_kind(const AdapterRequest& adapters, const ModelFiles& files) {
  if (files.kind == "text_to_image") return;
  const auto refuse = [](const std::string& flag, const std::string& file) {
    if (!file.empty())
      throw UsageError("--" + flag + ": got " + file +
                       ", expected a text-to-image model to go with it.");
  };
  refuse("unet", adapters.unet);
  if (files.kind != "class_to_image") {
    refuse("config", adapters.config);
    refuse("vae", adapters.vae);
    refuse("taesd", adapters.taesd);
  }
  for (const auto& file : adapters.loras) refuse("lora", file);
  for (const auto& file : adapters.textual_inversions) refuse("textual-inversion", file);
}

/// The autoencoder is the one that the request decodes by: TAESD where no other is named.
LoadOptions options_of(const GenerateRequest& request) {
  const AdapterRequest& adapters = request.adapters;
  return {adapters.config, adapters.vae.empty() ? adapters.taesd : adapters.vae, request.fp8,
          adapters.unet};
}

void set_prediction(Model& model, const std::string& type) {
  if (type.empty()) return;
  if (model.has_scheduler()) {
    if (has_edm_scheduler(model.scheduler))
      throw UsageError("--prediction-type: got " + type + ", expected none: the model's " +
                       printable(model.scheduler.at("_class_name").get<std::string>()) +
                       " says it.");
    model.scheduler["prediction_type"] = type;
    return;
  }
  model.prediction = prediction_type_from(type);
}

bool is_tiny(const Autoencoder& vae) {
  return std::holds_alternative<AutoencoderTiny>(vae.network);
}

void load_taesd(Generation& generation) {
  const AdapterRequest& adapters = generation.request.adapters;
  const Model& model = generation.model;
  if (model.vae && is_tiny(*model.vae)) generation.taesd = model.vae;
  if (adapters.taesd.empty() || (adapters.vae.empty() && generation.taesd)) return;
  if (!adapters.vae.empty())
    generation.taesd = std::make_shared<Autoencoder>(autoencoder_from(
        autoencoder_component(adapters.taesd), generation.dtype, generation.device));
  if (!generation.taesd || !is_tiny(*generation.taesd))
    throw UsageError("--taesd: got " + adapters.taesd +
                     ", another kind of VAE, expected a TAESD. --vae takes others.");
  const int64_t expected = model.network->out_channels(), got = generation.taesd->channels();
  if (got != expected)
    throw Error("--taesd: got " + adapters.taesd + " for latents of " + std::to_string(got) +
                " channels, expected " + std::to_string(expected) + " as the UNet has.");
}

/// Pictures are grey or have three colours.
void require_pictures(const Model& model, const fs::path& path) {
  const int64_t channels = model.network->out_channels();
  if (!model.vae && channels != 1 && channels != 3)
    throw Error(path.string() + ": got a network of " + std::to_string(channels) +
                " channels without a VAE, expected 1 or 3, or the VAE of its latents in vae/.");
}

/// The parts of a low-memory run lie on the CPU until their turn comes.
void wait_on_cpu(Generation& generation) {
  Model& model = generation.model;
  model.text->device = generation.device;
  if (model.vae) model.vae->device = generation.device;
}

/// Of what packed_conv.h and packed_linear.h may keep a second time.
struct Packable {
  double values = 0, bytes = 0;  ///< Of convolutions.
  double linear_bytes = 0;
  void add(const NamedTensors& parameters) {
    for (const auto& [name, tensor] : parameters) {
      if (tensor.dim() == 2 || tensor.dim() == 3) linear_bytes += double(tensor.nbytes());
      if (tensor.dim() != 4) continue;
      values += double(tensor.numel());
      bytes += double(tensor.nbytes());
    }
  }
};

}  // namespace

void decide_on_packing(std::initializer_list<const Generation*> generations) {
  Packable all;
  bool low_memory = false;
  for (const Generation* generation : generations) {
    if (!generation->device.is_cpu()) return;
    all.add(generation->model.parameters);
    if (generation->model.vae) all.add(generation->model.vae->parameters);
    low_memory |= generation->request.low_memory;
  }
  const double most = low_memory ? 0 : physical_memory() / 4;
  const bool packed = all.bytes <= most, winograd = winograd_bytes(all.values) <= most;
  keep_packed_weights(packed);
  keep_winograd_weights(winograd);
  const double convolutions = winograd ? winograd_bytes(all.values) : packed ? all.bytes : 0;
  keep_packed_linears(convolutions + all.linear_bytes <= most);
}

void load_requested(Generation& generation) {
  GenerateRequest& request = generation.request;
  const fs::path path = request.model.empty() ? default_model() : fs::path(request.model);
  const ModelFiles files = find_model(path);
  if (files.kind == "unet2d_condition")
    throw UsageError("--model: got " + path.string() +
                     ", a text-conditioned UNet without text encoders, expected the pipeline's "
                     "folder above it, with model_index.json. `tiller info` says what it holds.");
  check_kind(request.adapters, files);
  generation.device = chosen_device(request.device);
  generation.dtype = dtype_from(request.dtype, generation.device);
  const bool staged = request.low_memory && files.kind == "text_to_image";
  generation.model = load_model(path, generation.dtype, staged ? at::kCPU : generation.device,
                                options_of(request));
  decide_on_packing({&generation});
  if (staged) wait_on_cpu(generation);
  set_prediction(generation.model, request.adapters.prediction_type);
  load_taesd(generation);
  require_pictures(generation.model, path);
  add_adapters(generation.model, request.adapters);
  request.device = generation.device.is_cuda() ? "cuda" : "cpu";
  request.dtype = dtype_name(generation.dtype);
}

fs::path default_model() {
  for (const auto& folder : {source_weights(), installed_weights()})
    if (const fs::path model = model_within(folder); !model.empty()) return model;
  throw UsageError("--model: got none, and there is no model in " + source_weights().string() +
                   " or " + installed_weights().string() + ", expected --model DIR.");
}

}  // namespace tiller
