#include "tools/training_distance.h"

#include <ATen/core/grad_mode.h>

#include "io/error.h"
#include "metrics/set_metrics.h"
#include "tools/generation.h"
#include "tools/image_references.h"
#include "training/dataset_formats.h"
#include "training/pipeline_files.h"
#include "training/trained_size.h"
#include "training/training_data.h"

namespace tiller {
namespace {

constexpr int64_t distance_samples = 1000, most_at_once = 64;

struct Measuring {
  FeatureNetworks by;
  Reference reference;
  int64_t samples = 0;
  GenerateRequest request;
};

double distance_of(Measuring& measuring, const fs::path& model) {
  const at::NoGradGuard no_grad;
  GenerateRequest request = measuring.request;
  request.model = model.string();
  Generation generation = prepare(std::move(request));
  auto guidances = choose_guidances(generation.request.guidances, generation.model);
  FeatureCollector features(measuring.by.networks.front(), {}, measuring.samples);
  Progress progress = Progress::silent();
  run_images(generation, guidances, generation.images, generation.request.batch, progress,
             [&](size_t, const DoneImages& done) {
               features.add(measuring.by.networks.front().run(done.pixels));
             });
  return measuring.reference.frechet().distance(*features.finish().moments);
}

/// The config's, of a text-to-image model.
std::vector<std::string> own_prompts(const TrainOptions& options) {
  if (!describes_text(options.config)) return {};
  return read_pipeline_config(options.config, options.config_file).prompts;
}

/// Throws UsageError where the model that is trained can't be sampled from.
void require_samples(const Flags& flags, const TrainOptions& options) {
  if (options.config.value("_class_name", nlohmann::json()) == "AutoencoderKL")
    throw UsageError("--fd-every: got it for an autoencoder, expected a model that is sampled.");
  if (describes_text(options.config) && own_prompts(options).empty() && flags.has("fd-reference"))
    throw UsageError(
        "--fd-reference: got it with a config without prompts, expected those of the samples.");
}

/// Of the images that --fd-reference names, else of those that are trained on, as they are.
ReferenceSet reference_of(const Flags& flags, const TrainOptions& options,
                          const FeatureNetworks& by) {
  const fs::path folder = options.output / "reference";
  if (flags.has("fd-reference"))
    return remembered_reference(fs::path(flags.text("fd-reference")), by, folder);
  if (is_pairs(options.data))
    throw UsageError("--fd-every: got pairs as --data, expected --fd-reference with images.");
  const int64_t size = trained_size(options, vae_of(options));
  return remembered_reference(
      SizedImages{options.data, size, [&] { return decoded_data(options, size); }}, by, folder);
}

/// What the samples show: the config's prompts, else captions of the reference as training reads
/// them.
TextRequest text_of(const TrainOptions& options, const Json& reference, int64_t samples) {
  TextRequest text;
  text.prompts = own_prompts(options);
  if (!describes_text(options.config) || !text.prompts.empty()) return text;
  if (!reference.contains("captions"))
    throw UsageError("--fd-every: got neither prompts in the config nor captions in " +
                     options.data.string() + ", expected what the samples are to show.");
  text.prompts = spread(reference.at("captions"), size_t(samples));
  text.plain = true;
  return text;
}

GenerateRequest request_of(const Flags& flags, const TrainOptions& options, const Json& reference,
                           int64_t samples) {
  GenerateRequest request;
  request.device = options.device.str();
  request.dtype = "float32";
  request.text = text_of(options, reference, samples);
  request.count = samples;
  request.batch = std::min(samples, most_at_once);
  request.steps = flags.integer("fd-steps", 1, RequestLimits::steps, request.steps);
  if (!options.sample_guidance.empty()) request.guidances = {options.sample_guidance};
  return request;
}

}  // namespace

const std::vector<Flag>& distance_flags() {
  static const std::vector<Flag> flags = {
      {"fd-every", "N", "steps between Fréchet distances; the best model is kept; default 0: none",
       Flag::rare},
      {"fd-reference", "PATH",
       "what samples are compared with; default: --data as it is trained on", Flag::rare},
      {"fd-samples", "N", "default 1000", Flag::rare},
      {"fd-steps", "N", "of each sample; default 30", Flag::rare},
      {"features", "NAME[:KEY=VALUE,...]", "of the distance, as evaluate takes them", Flag::rare}};
  return flags;
}

DistanceMeasure distance_measure(const Flags& flags, const TrainOptions& options) {
  const int64_t every = flags.integer("fd-every", 0, 1'000'000'000, 0);
  if (!every) {
    for (const auto& flag : distance_flags())
      if (flag.name != "fd-every" && flags.has(flag.name))
        throw UsageError("--" + flag.name + ": got it without --fd-every, expected both.");
    return {};
  }
  if (options.launch.rank > 0) return {.every = every};
  const auto metrics = choose_metrics({"fid"});
  FeatureNetworks by = feature_networks(flags, metrics, options.device);
  if (by.networks.size() > 1)
    throw UsageError("--features: got " + std::to_string(by.networks.size()) +
                     ", expected one while training.");
  require_samples(flags, options);
  ReferenceSet set = reference_of(flags, options, by);
  const int64_t samples = flags.integer("fd-samples", 2, RequestLimits::images, distance_samples);
  const std::string name = frechet_figure(by.networks.front(), 0).key;
  const auto measuring = std::make_shared<Measuring>(
      Measuring{std::move(by), Reference(std::move(set.features.front())), samples,
                request_of(flags, options, set.description, samples)});
  return {name, every, [=](const fs::path& model) { return distance_of(*measuring, model); }};
}

}  // namespace tiller
