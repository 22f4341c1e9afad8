#include "tools/generation.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "io/error.h"
#include "io/physical_memory.h"
#include "samplers/defaults.h"
#include "samplers/idle_options.h"
#include "samplers/scheduler_config.h"
#include "tools/conditioning.h"
#include "tools/decoding.h"
#include "tools/denoising.h"
#include "tools/inputs.h"
#include "tools/inversion_file.h"
#include "tools/loading.h"
#include "tools/parallel.h"
#include "tools/residence.h"
#include "tools/subjects.h"

namespace tiller {
namespace {

/// Enough to keep the device busy, little enough to fit.
int64_t usual_batch(at::Device device, const ImageSize& size) {
  const int64_t pixels = device.is_cuda() ? 1 << 20 : 1 << 14;
  return std::clamp<int64_t>(pixels / (size.height * size.width), 1, device.is_cuda() ? 256 : 16);
}

void require_memory(double bytes, const GenerateRequest& request, const std::string& advice) {
  const double present = physical_memory();
  if (bytes > 0.8 * present)
    throw Error("out of memory: " + std::to_string(request.batch) + " images of " +
                to_text(request.size) + " need about " + std::to_string(int64_t(bytes / 1e9)) +
                " GB, this machine has " + std::to_string(int64_t(present / 1e9)) + ". " + advice);
}

/// Refuses what would end in the kernel's out-of-memory killer: an evaluation holds about 16 images
/// of the network's first channels.
void check_memory(const Generation& generation, int64_t window) {
  if (!generation.device.is_cpu()) return;
  const GenerateRequest& request = generation.request;
  const double images = double(std::min(request.batch, request.count)) * double(window);
  const ImageSize latent = latent_size(generation);
  const double bytes = 16 * images * double(latent.height) * double(latent.width) *
                       double(generation.model.width) * double(at::elementSize(generation.dtype));
  require_memory(decoding_memory(generation, double(std::min(request.batch, request.count))),
                 request, "Use --vae-tiling, or lower --batch or --size.");
  require_memory(
      bytes, request,
      window == 1 ? "Lower --batch or --size." : "Lower --batch, --size or the --parallel window.");
}

void require_multiples(const Generation& generation, int64_t multiple) {
  const GenerateRequest& request = generation.request;
  const Model& model = generation.model;
  const auto below = [&](int64_t pixels) {
    return std::max<int64_t>(1, pixels / multiple) * multiple;
  };
  for (const int64_t pixels : {request.size.width, request.size.height}) {
    if (pixels % multiple == 0) continue;
    const std::string expected = " a multiple of " + std::to_string(multiple);
    if (!request.size_of_image)
      throw UsageError("--size: got " + std::to_string(pixels) + ", expected" + expected +
                       ", such as " + std::to_string(below(pixels)) + ".");
    const ImageSize fits = model.vae
                               ? ImageSize{below(request.size.height), below(request.size.width)}
                               : ImageSize{model.image_size, model.image_size};
    throw UsageError("--image: got " + to_text(request.size) + " pixels, expected each side" +
                     expected + ". --size " + to_text(fits) + " scales and crops.");
  }
}

void choose_size(Generation& generation) {
  GenerateRequest& request = generation.request;
  const Model& model = generation.model;
  const int64_t multiple = model.network->size_multiple() * model.pixel_scale;
  generation.init = read_init_image(request.image, request.size, multiple);
  choose_control_size(request.control, request.size, multiple);
  if (request.size == ImageSize{})
    request.size = {model.image_size, model.image_width ? model.image_width : model.image_size};
  require_multiples(generation, multiple);
}

void choose_batch(Generation& generation, const StepsAtOnce& at_once) {
  GenerateRequest& request = generation.request;
  const int64_t steps = generation.trajectory.steps();
  int64_t window = at_once ? at_once(steps) : 1;
  if (const auto parallel = requested_parallel(request, steps))
    window = std::max<int64_t>(window, parallel->window);
  if (request.batch == 0)
    request.batch =
        std::max<int64_t>(1, usual_batch(generation.device, latent_size(generation)) / window);
  check_memory(generation, window);
}

/// "NAME:key=value,..." as a sampler, its options over the model's, and the levels of the run.
void choose_sampler(Generation& generation) {
  GenerateRequest& request = generation.request;
  const Model& model = generation.model;
  std::optional<SchedulerSetup> setup;
  if (model.has_scheduler()) setup = read_scheduler_config(model.scheduler);
  if (request.sampler.empty())
    request.sampler = setup ? configured_sampler(*setup) : usual_sampler(model);
  const size_t colon = std::min(request.sampler.find(':'), request.sampler.size());
  const std::string given = request.sampler.substr(std::min(colon + 1, request.sampler.size()));
  const Sampler& sampler = find_sampler(request.sampler.substr(0, colon));
  generation.sampler = &sampler;
  Options& options = generation.sampler_options;
  options =
      parse_options("sampler " + sampler.name, given,
                    setup ? configured_options(*setup, sampler) : usual_options(model, sampler));
  if (request.strict_diffusers) options.values["strict"] = "true";
  generation.schedule = setup ? configured_schedule(*setup, sampler) : schedule_of(model);
  const NoiseSchedule& schedule = generation.schedule;
  TrajectoryConfig config = default_trajectory_config(schedule);
  if (setup && request.strict_diffusers) config.sigma_max = 0;
  config.steps = static_cast<int>(request.steps);
  config.respacing = request.respacing;
  generation.idle = idle_options(sampler, given, options, schedule, config);
  generation.trajectory = sampler.trajectory(schedule, with_options(config, options));
  if (setup) {
    generation.model.prediction = setup->prediction;
    require_signal(generation.trajectory, setup->prediction);
  }
  if (generation.init.image.defined() && !model.edits() && request.image.strength < 1)
    generation.trajectory =
        sampler.from_strength(generation.trajectory, request.image.strength, options);
}

/// Samplers read their options as they start: a run of no steps finds what is wrong with them.
void start_sampler(const Generation& generation) {
  Trajectory none = generation.trajectory;
  none.levels.resize(1);
  none.landings.clear();
  SeededNoise noise({0});
  const Denoiser never = [](const Tensor&, const NoiseLevel&) { return Prediction{}; };
  corrected(generation, never);
  generation.sampler->run(never, at::zeros({1, 1, 1, 1}), none, generation.sampler_options, noise,
                          {});
}

void require_sampler_options(const Generation& generation) {
  try {
    start_sampler(generation);
  } catch (const UsageError& error) {
    throw UsageError("sampler " + generation.sampler->name + ": " + error.what());
  }
}

/// Threads decide how sums round: as many as then.
void load_inversion(Generation& generation) {
  GenerateRequest& request = generation.request;
  if (request.inversion.empty()) return;
  auto file = std::make_shared<InversionFile>(read_inversion(request.inversion));
  require_same_request(request, *file, request.inversion);
  request.threads = file->request.threads;
  generation.inversion = std::move(file);
}

}  // namespace

void require_renoising(const Sampler& sampler, const std::vector<ChosenGuidance>& guidances) {
  std::vector<std::string> able;
  for (const auto& other : samplers())
    if (other.renoises) able.push_back(other.name);
  for (const auto& chosen : guidances)
    if (chosen.entry->renoises && !sampler.renoises)
      throw UsageError("--sampler: got " + sampler.name + " with guidance " + chosen.entry->name +
                       ", which chooses the noise that a step leaves, expected one of " +
                       enumerate(able) + ".");
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

Generation prepare(GenerateRequest request, const StepsAtOnce& at_once) {
  Generation generation;
  generation.request = std::move(request);
  load_inversion(generation);
  if (generation.request.threads > 0)
    at::set_num_threads(static_cast<int>(generation.request.threads));
  load_requested(generation);
  generation.inputs = input_hashes(generation.request);
  if (generation.inversion)
    require_same_model(generation, *generation.inversion, generation.request.inversion);
  check_subject(generation);
  choose_images(generation);
  choose_size(generation);
  choose_sampler(generation);
  choose_batch(generation, at_once);
  if (generation.inversion)
    require_same_run(generation, *generation.inversion, generation.request.inversion);
  use_text_encoders(generation);
  generation.prompts = encode_prompts(generation);
  generation.controls = load_controls(generation);
  drop_text_encoders(generation);
  use_unet(generation);
  require_sampler_options(generation);
  return generation;
}

void use_sampler(Generation& generation, const std::string& sampler) {
  generation.request.sampler = sampler;
  choose_sampler(generation);
  require_sampler_options(generation);
}

}  // namespace tiller
