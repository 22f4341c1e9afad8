#include "tools/generation.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <unistd.h>

#include "io/error.h"
#include "models/device.h"
#include "samplers/defaults.h"
#include "samplers/scheduler_config.h"
#include "tools/conditioning.h"

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

void load(Generation& generation) {
  GenerateRequest& request = generation.request;
  const fs::path path = request.model.empty() ? default_model() : fs::path(request.model);
  const ModelFiles files = find_model(path);
  if (files.kind == "unet2d_condition")
    throw UsageError("--model: got " + path.string() +
                     ", a text-conditioned UNet without text encoders, expected the pipeline's "
                     "folder above it, with model_index.json. `tiller info` says what it holds.");
  generation.device = choose_device(request.device);
  generation.dtype = dtype_from(request.dtype, generation.device);
  generation.model = load_model(path, generation.dtype, generation.device);
  request.device = generation.device.is_cuda() ? "cuda" : "cpu";
  request.dtype = dtype_name(generation.dtype);
}

bool has_class(const Model& model, const std::string& name) {
  return std::find(model.class_names.begin(), model.class_names.end(), name) !=
         model.class_names.end();
}

/// Indices of "cat,3", or of one class whose name itself holds commas.
void add_classes(const Model& model, const std::string& text, std::vector<int64_t>& labels) {
  if (has_class(model, text)) return labels.push_back(class_index(model, text));
  for (size_t begin = 0; begin <= text.size();) {
    const size_t comma = std::min(text.find(',', begin), text.size());
    labels.push_back(class_index(model, text.substr(begin, comma - begin)));
    begin = comma + 1;
  }
}

/// Labels in turn: those named, else every class of the model.
std::vector<int64_t> chosen_labels(const Generation& generation) {
  const GenerateRequest& request = generation.request;
  const Model& model = generation.model;
  std::vector<int64_t> labels;
  for (const auto& text : request.classes) add_classes(model, text, labels);
  if (labels.empty())
    for (int64_t label = 0; label < model.classes; ++label) labels.push_back(label);
  return labels;
}

/// Prompts are for models that read text, classes for those that know some.
void check_subject(const Generation& generation) {
  const GenerateRequest& request = generation.request;
  const Model& model = generation.model;
  if (model.classes == 0 && !request.classes.empty())
    throw UsageError("--class: got '" + request.classes.front() + "', expected " +
                     (model.text ? "--prompt: the model reads text."
                                 : "none: the model isn't class-conditional."));
  if (!model.text && !request.text.prompts.empty())
    throw UsageError("--prompt: got '" + request.text.prompts.front() + "', expected " +
                     (model.classes ? "--class: the model knows " + std::to_string(model.classes) +
                                          " classes and reads no text."
                                    : "none: the model reads no text."));
  if (model.text && request.text.prompts.empty())
    throw UsageError("--prompt: got none, expected what to draw: the model reads text.");
}

void choose_images(Generation& generation) {
  GenerateRequest& request = generation.request;
  const auto& prompts = request.text.prompts;
  std::vector<int64_t> labels = chosen_labels(generation);
  const int64_t named =
      int64_t(std::max(prompts.size(), request.classes.size() ? labels.size() : 0));
  if (request.count == 0) request.count = std::max<int64_t>(1, named);
  labels.resize(std::min<size_t>(labels.size(), request.count));
  request.classes.clear();
  for (const int64_t label : labels) request.classes.push_back(std::to_string(label));
  for (const uint64_t seed : image_seeds(request.seed, request.count)) {
    const size_t k = generation.images.size();
    generation.images.push_back({seed, labels.empty() ? -1 : labels[k % labels.size()],
                                 prompts.empty() ? "" : prompts[k % prompts.size()]});
  }
}

/// Enough to keep the device busy, little enough to fit.
int64_t usual_batch(at::Device device, const ImageSize& size) {
  const int64_t pixels = device.is_cuda() ? 1 << 20 : 1 << 14;
  return std::clamp<int64_t>(pixels / (size.height * size.width), 1, device.is_cuda() ? 256 : 16);
}

/// Refuses what would end in the kernel's out-of-memory killer: an evaluation holds about 16 images
/// of the network's first channels.
void check_memory(const Generation& generation) {
  if (!generation.device.is_cpu()) return;
  const GenerateRequest& request = generation.request;
  const double images = double(std::min(request.batch, request.count));
  const ImageSize latent = latent_size(generation);
  const double bytes = 16 * images * double(latent.height) * double(latent.width) *
                       double(generation.model.width) * double(at::elementSize(generation.dtype));
  const double present = double(sysconf(_SC_PHYS_PAGES)) * double(sysconf(_SC_PAGESIZE));
  if (bytes > 0.8 * present)
    throw Error("out of memory: " + std::to_string(request.batch) + " images of " +
                to_text(request.size) + " need about " + std::to_string(int64_t(bytes / 1e9)) +
                " GB, this machine has " + std::to_string(int64_t(present / 1e9)) +
                ". Lower --batch or --size.");
}

void choose_size(Generation& generation) {
  GenerateRequest& request = generation.request;
  const Model& model = generation.model;
  const int64_t multiple = model.network->size_multiple() * model.pixel_scale;
  generation.init = read_init_image(request.image, request.size, multiple);
  choose_control_size(request.control, request.size, multiple);
  if (request.size == ImageSize{}) request.size = {model.image_size, model.image_size};
  for (const int64_t pixels : {request.size.width, request.size.height})
    if (pixels % multiple != 0)
      throw UsageError("--size: got " + std::to_string(pixels) + ", expected a multiple of " +
                       std::to_string(multiple) + ", such as " +
                       std::to_string(std::max<int64_t>(1, pixels / multiple) * multiple) + ".");
  if (request.batch == 0) request.batch = usual_batch(generation.device, latent_size(generation));
  check_memory(generation);
}

/// "NAME:key=value,..." as a sampler, its options over the model's, and the levels of the run.
void choose_sampler(Generation& generation) {
  GenerateRequest& request = generation.request;
  const Model& model = generation.model;
  std::optional<SchedulerSetup> setup;
  if (model.text) setup = read_scheduler_config(model.scheduler);
  if (request.sampler.empty()) request.sampler = setup ? configured_sampler(*setup) : "ddim";
  const std::string& text = request.sampler;
  const size_t colon = std::min(text.find(':'), text.size());
  const Sampler& sampler = find_sampler(text.substr(0, colon));
  generation.sampler = &sampler;
  Options& options = generation.sampler_options;
  options =
      parse_options("sampler " + sampler.name, colon < text.size() ? text.substr(colon + 1) : "",
                    setup ? configured_options(*setup, sampler) : sampler.options);
  if (request.strict_diffusers) options.values["strict"] = "true";
  const NoiseSchedule schedule =
      setup ? configured_schedule(*setup, sampler)
            : guided_diffusion_schedule(model.noise_schedule, model.diffusion_steps,
                                        model.rescale_timesteps);
  TrajectoryConfig config = default_trajectory_config(schedule);
  config.steps = static_cast<int>(request.steps);
  config.respacing = request.respacing;
  generation.trajectory = sampler.trajectory(schedule, with_options(config, options));
  if (setup) {
    generation.model.prediction = setup->prediction;
    require_signal(generation.trajectory, setup->prediction);
  }
  if (generation.init.image.defined() && request.image.strength < 1)
    generation.trajectory = from_strength(generation.trajectory, request.image.strength);
}

/// Samplers read their options as they start: a run of no steps finds what is wrong with them.
void check_sampler_options(const Generation& generation) {
  Trajectory none = generation.trajectory;
  none.levels.resize(1);
  none.landings.clear();
  SeededNoise noise({0});
  const Denoiser never = [](const Tensor&, const NoiseLevel&) { return Prediction{}; };
  generation.sampler->run(never, at::zeros({1, 1, 1, 1}), none, generation.sampler_options, noise,
                          {});
}

}  // namespace

fs::path default_model() {
  for (const auto& folder : {source_weights(), installed_weights()})
    if (const fs::path model = model_within(folder); !model.empty()) return model;
  throw UsageError("--model: got none, and there is no model in " + source_weights().string() +
                   " or " + installed_weights().string() + ", expected --model DIR.");
}

std::string class_label(const Model& model, int64_t label) {
  if (label < 0) return "";
  return label < int64_t(model.class_names.size()) ? model.class_names[label]
                                                   : "class " + std::to_string(label);
}

std::string subject_of(const Model& model, const ImageSpec& image) {
  return model.text ? image.prompt : class_label(model, image.label);
}

ImageSize latent_size(const Generation& generation) {
  const ImageSize& size = generation.request.size;
  const int64_t scale = generation.model.pixel_scale;
  return {size.height / scale, size.width / scale};
}

VaeOptions Generation::vae_options() const {
  VaeOptions options;
  options.tiling = request.vae_tiling;
  options.slicing = request.low_memory;
  return options;
}

Generation prepare(GenerateRequest request) {
  Generation generation;
  generation.request = std::move(request);
  if (generation.request.threads > 0)
    at::set_num_threads(static_cast<int>(generation.request.threads));
  load(generation);
  check_subject(generation);
  choose_images(generation);
  choose_size(generation);
  choose_sampler(generation);
  generation.prompts = encode_prompts(generation);
  generation.controls = load_controls(generation);
  try {
    check_sampler_options(generation);
  } catch (const UsageError& error) {
    throw UsageError("sampler " + generation.sampler->name + ": " + error.what());
  }
  return generation;
}

}  // namespace tiller
