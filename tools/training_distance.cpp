#include "tools/training_distance.h"

#include <ATen/core/grad_mode.h>

#include "io/error.h"
#include "metrics/set_metrics.h"
#include "tools/generation.h"
#include "tools/image_references.h"

namespace tiller {
namespace {

constexpr int64_t usual_samples = 1000, most_at_once = 64;

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

/// Throws UsageError where the model that is trained can't be sampled from.
std::vector<std::string> prompts_of(const nlohmann::json& config) {
  if (config.value("_class_name", nlohmann::json()) == "AutoencoderKL")
    throw UsageError("--fd-every: got it for an autoencoder, expected a model that is sampled.");
  if (!config.contains("unet")) return {};
  if (!config.contains("prompts"))
    throw UsageError("--fd-every: got a config without prompts, expected those of the samples.");
  return config.at("prompts").get<std::vector<std::string>>();
}

GenerateRequest request_of(const Flags& flags, const TrainOptions& options, int64_t samples) {
  GenerateRequest request;
  request.device = options.device.str();
  request.dtype = "float32";
  request.text.prompts = prompts_of(options.config);
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
      {"fd-reference", "PATH", "what samples are compared with; default: --data", Flag::rare},
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
  const fs::path data =
      flags.has("fd-reference") ? fs::path(flags.text("fd-reference")) : options.data;
  ReferenceSet set = remembered_reference(data, by, options.output / "reference");
  const int64_t samples = flags.integer("fd-samples", 2, RequestLimits::images, usual_samples);
  const std::string name = frechet_figure(by.networks.front(), 0).key;
  const auto measuring = std::make_shared<Measuring>(
      Measuring{std::move(by), Reference(std::move(set.features.front())), samples,
                request_of(flags, options, samples)});
  return {name, every, [=](const fs::path& model) { return distance_of(*measuring, model); }};
}

}  // namespace tiller
