#include "tools/generation.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <unistd.h>

#include "io/error.h"
#include "models/device.h"
#include "samplers/clip.h"
#include "samplers/defaults.h"

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

/// "NAME:key=value,..." as a sampler and its options.
void choose_sampler(Generation& generation) {
  const std::string& text = generation.request.sampler;
  const size_t colon = std::min(text.find(':'), text.size());
  generation.sampler = &find_sampler(text.substr(0, colon));
  generation.sampler_options =
      parse_options("sampler " + generation.sampler->name,
                    colon < text.size() ? text.substr(colon + 1) : "", generation.sampler->options);
}

void load(Generation& generation) {
  GenerateRequest& request = generation.request;
  const fs::path path = request.model.empty() ? default_model() : fs::path(request.model);
  const ModelFiles files = find_model(path);
  if (files.kind == "unet2d_condition")
    throw UsageError("--model: got " + path.string() +
                     ", a text-conditioned UNet without text encoders, expected a model of kind "
                     "adm. `tiller info` says what the folder holds.");
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

void choose_images(Generation& generation) {
  GenerateRequest& request = generation.request;
  const Model& model = generation.model;
  if (model.classes == 0 && !request.classes.empty())
    throw UsageError("--class: got '" + request.classes.front() +
                     "', expected none: the model isn't class-conditional.");
  std::vector<int64_t> labels;
  for (const auto& text : request.classes) add_classes(model, text, labels);
  if (request.count == 0) request.count = std::max<int64_t>(1, labels.size());
  if (labels.empty())
    for (int64_t label = 0; label < model.classes; ++label) labels.push_back(label);
  labels.resize(std::min<size_t>(labels.size(), request.count));
  request.classes.clear();
  for (const int64_t label : labels) request.classes.push_back(std::to_string(label));
  for (const uint64_t seed : image_seeds(request.seed, request.count))
    generation.images.push_back(
        {seed, labels.empty() ? -1 : labels[generation.images.size() % labels.size()]});
}

/// Enough to keep the device busy, little enough to fit.
int64_t usual_batch(at::Device device, int64_t size) {
  const int64_t pixels = device.is_cuda() ? 1 << 20 : 1 << 14;
  return std::clamp<int64_t>(pixels / (size * size), 1, device.is_cuda() ? 256 : 16);
}

/// Refuses what would end in the kernel's out-of-memory killer: an evaluation holds about 16 images
/// of the network's first channels.
void check_memory(const Generation& generation) {
  if (!generation.device.is_cpu()) return;
  const GenerateRequest& request = generation.request;
  const double images = double(std::min(request.batch, request.count));
  const double bytes = 16 * images * double(request.size) * double(request.size) *
                       double(generation.model.config.value("num_channels", int64_t{128})) *
                       double(at::elementSize(generation.dtype));
  const double present = double(sysconf(_SC_PHYS_PAGES)) * double(sysconf(_SC_PAGESIZE));
  if (bytes > 0.8 * present)
    throw Error("out of memory: " + std::to_string(request.batch) + " images of " +
                std::to_string(request.size) + "x" + std::to_string(request.size) + " need about " +
                std::to_string(int64_t(bytes / 1e9)) + " GB, this machine has " +
                std::to_string(int64_t(present / 1e9)) + ". Lower --batch or --size.");
}

void choose_size(Generation& generation) {
  GenerateRequest& request = generation.request;
  const Model& model = generation.model;
  if (request.size == 0) request.size = model.image_size;
  const int64_t multiple = model.network->size_multiple();
  if (request.size % multiple != 0)
    throw UsageError("--size: got " + std::to_string(request.size) + ", expected a multiple of " +
                     std::to_string(multiple) + ".");
  if (request.batch == 0) request.batch = usual_batch(generation.device, request.size);
  check_memory(generation);
}

void choose_trajectory(Generation& generation) {
  const Model& model = generation.model;
  const NoiseSchedule schedule = guided_diffusion_schedule(
      model.noise_schedule, model.diffusion_steps, model.rescale_timesteps);
  TrajectoryConfig config = default_trajectory_config(schedule);
  config.steps = static_cast<int>(generation.request.steps);
  config.respacing = generation.request.respacing;
  generation.trajectory =
      generation.sampler->trajectory(schedule, with_options(config, generation.sampler_options));
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

Tensor labels_of(std::span<const ImageSpec> images) {
  std::vector<int64_t> labels;
  for (const auto& image : images) labels.push_back(image.label);
  return at::tensor(labels, at::kLong);
}

GuidedBatch guided_batch(const Generation& generation, std::span<const ImageSpec> images) {
  const Model& model = generation.model;
  GuidedBatch batch;
  for (const auto& image : images) batch.seeds.push_back(image.seed);
  batch.steps = generation.trajectory.steps();
  if (model.classes == 0) return batch;
  batch.positive.label = labels_of(images).to(generation.device);
  if (model.null_label) {
    batch.negative.emplace();
    batch.negative->label = at::full_like(batch.positive.label, model.classes);
  }
  return batch;
}

/// One batch of samples, (B, C, H, W) float32 on the CPU.
Tensor run_batch(const Generation& generation, std::span<ChosenGuidance> guidances,
                 std::span<const ImageSpec> images, GuidanceCost& cost, const Observer& observer) {
  const GenerateRequest& request = generation.request;
  GuidedBatch batch = guided_batch(generation, images);
  SeededNoise noise(batch.seeds);
  const int64_t channels = generation.model.network->in_channels();
  const Tensor start =
      initial_noise(noise, {int64_t(images.size()), channels, request.size, request.size},
                    generation.device) *
      generation.trajectory.initial_scale;
  Denoiser denoise =
      guided_denoiser(generation.model, guidances, std::move(batch), request.share, &cost);
  if (request.clip_denoised) denoise = clipped(std::move(denoise), ClipMode::recompute_epsilon);
  return generation.sampler
      ->run(denoise, start, generation.trajectory, generation.sampler_options, noise, observer)
      .to(at::kCPU, at::kFloat);
}

void require_finite(const Tensor& samples, const GenerateRequest& request) {
  if (samples.isfinite().all().item<bool>()) return;
  throw Error(
      "sample: got values that aren't finite with --dtype " + request.dtype +
      ", expected numbers." +
      (request.dtype == "float32" ? " Lower the guidance scale." : " Use --dtype float32."));
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

Generation prepare(GenerateRequest request) {
  Generation generation;
  generation.request = std::move(request);
  if (generation.request.threads > 0)
    at::set_num_threads(static_cast<int>(generation.request.threads));
  choose_sampler(generation);
  load(generation);
  choose_images(generation);
  choose_size(generation);
  choose_trajectory(generation);
  try {
    check_sampler_options(generation);
  } catch (const UsageError& error) {
    throw UsageError("sampler " + generation.sampler->name + ": " + error.what());
  }
  return generation;
}

GuidanceCost run_images(const Generation& generation, std::span<ChosenGuidance> guidances,
                        std::span<const ImageSpec> images, int64_t batch, Progress& progress,
                        const ImageSink& sink) {
  const c10::InferenceMode inference;
  GuidanceCost cost;
  for (size_t first = 0; first < images.size(); first += batch) {
    const auto part = images.subspan(first, std::min<size_t>(batch, images.size() - first));
    const Tensor samples = run_batch(generation, guidances, part, cost, [&](const StepReport&) {
      progress.advance(int64_t(part.size()));
    });
    require_finite(samples, generation.request);
    sink(first, samples);
  }
  return cost;
}

}  // namespace tiller
