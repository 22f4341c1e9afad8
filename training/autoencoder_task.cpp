#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include "io/error.h"
#include "io/grid.h"
#include "io/image.h"
#include "io/safetensors.h"
#include "models/autoencoder_kl.h"
#include "models/weights.h"
#include "training/autoencoder_loss.h"
#include "training/batches.h"
#include "training/network_fit.h"
#include "training/random.h"
#include "training/task.h"
#include "training/training_data.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMeasured = 512;  ///< Images that the latents' statistics are taken from.
constexpr int64_t kPreviewed = 16;

struct TrainedAutoencoder {
  AutoencoderKL network;
  NamedTensors parameters;
};

/// Throws UsageError where the user asks for what UNets alone have.
void check(const TrainOptions& options) {
  const auto refuse = [](const std::string& flag, bool asked) {
    if (asked) throw UsageError("--" + flag + ": got it for an autoencoder, expected a UNet.");
  };
  refuse("gradient-checkpointing", options.recompute);
  refuse("pfgmpp", options.augmented > 0);
  refuse("min-snr", options.min_snr > 0);
  refuse("timesteps", options.timesteps != TimestepRule::uniform);
  refuse("input-perturbation", options.input_perturbation_given && options.input_perturbation > 0);
  refuse("label-dropout", options.label_dropout_given && options.label_dropout > 0);
  refuse("sample-guidance", !options.sample_guidance.empty());
}

/// Throws UsageError where the config doesn't fit images.
void check_network(const TrainOptions& options, const AutoencoderKLConfig& config) {
  const std::string file = options.config_file + ": ";
  require_channels(file + "in_channels", config.in_channels, 3, "images");
  require_channels(file + "out_channels", config.out_channels, 3, "images");
  require_multiple(file + "sample_size", config.sample_size, config.downscale());
  if (!config.quant_conv || !config.post_quant_conv)
    throw UsageError(
        "use_quant_conv, use_post_quant_conv: got false, expected true: they normalise the "
        "latents.");
}

TrainedAutoencoder build(const TrainOptions& options) {
  Weights weights = options.initial.empty()
                        ? Weights(options.seed, options.device)
                        : Weights(load_tensors(options.initial), options.initial.string(),
                                  at::kFloat, options.device);
  AutoencoderKL network(options.config, weights);
  check_network(options, network.config());
  return {std::move(network), weights.finish()};
}

/// Evenly over the data set.
Tensor some_images(const Dataset& data, int64_t count, at::Device device) {
  const int64_t images = data.images.size(0), chosen = std::min(count, images);
  const Tensor rows = at::arange(chosen, at::kLong) * images / chosen;
  const Tensor some = data.images.index_select(0, rows.to(data.images.device(), at::kLong));
  return from_bytes(some.to(device));
}

class AutoencoderTask final : public TrainTask {
 public:
  explicit AutoencoderTask(const TrainOptions& options)
      : options_(options),
        model_(build(options)),
        average_(build(options)),
        data_(load_training_data(options, model_.network.config().sample_size)),
        batches_(data_, options) {}

  NamedTensors parameters() const override { return model_.parameters; }
  NamedTensors average() const override { return average_.parameters; }

  Tensor losses(int64_t step, const BatchPart& part) override {
    const Tensor images = batches_.at(step, part).images;
    const LatentDistribution latents = model_.network.encode(images);
    std::vector<int64_t> whole = latents.mean.sizes().vec();
    whole[0] = options_.whole_batch();
    const Tensor noise = at::randn(whole, step_generator(options_.seed, 4, step, options_.device),
                                   latents.mean.options());
    const Tensor decoded =
        model_.network.decode(latents.sample(noise.narrow(0, part.first, part.count)));
    return reconstruction_losses(decoded, images) + kl_weight * kl_divergences(latents);
  }

  std::string image_name(int64_t step, int64_t row) override { return batches_.name_of(step, row); }

  void save(const fs::path& folder) const override {
    const c10::InferenceMode guard;
    NamedTensors tensors = average_.parameters;
    std::vector<Tensor> means;
    for (const Tensor& part : some_images(data_, kMeasured, options_.device).split(64))
      means.push_back(average_.network.encode(part).mean);
    normalise_latents(tensors, at::cat(means));
    Json config = options_.config;
    config["scaling_factor"] = 1.0;
    write_file(folder / "config.json", config.dump(2) + "\n");
    save_safetensors(folder / "diffusion_pytorch_model.safetensors", tensors);
  }

  /// Images above what comes of them.
  void preview(const fs::path& path) const override {
    const c10::InferenceMode guard;
    const Tensor images = some_images(data_, kPreviewed, options_.device);
    const Tensor decoded = average_.network.decode(average_.network.encode(images).mean);
    write_png(path, image_grid(to_bytes(at::cat({images, decoded})).cpu(), images.size(0)));
  }

 private:
  const TrainOptions& options_;
  TrainedAutoencoder model_, average_;
  Dataset data_;
  Batches batches_;
};

}  // namespace

std::unique_ptr<TrainTask> autoencoder_task(const TrainOptions& options) {
  check(options);
  return std::make_unique<AutoencoderTask>(options);
}

}  // namespace tiller
