#include <ATen/ATen.h>

#include "models/diffusers_folder.h"
#include "tests/training/training_runs.h"
#include "training/autoencoder_loss.h"

namespace tiller::test {
namespace {

const std::vector<std::string> kAutoencoderFiles = {"diffusion_pytorch_model.safetensors",
                                                    "config.json"};

class AutoencoderTraining : public TrainingRuns {
 protected:
  AutoencoderTraining() {
    for (int i = 0; i < 8; ++i)
      write("data/" + std::to_string(i) + ".png", encode_png(two_colours(i)));
  }

  /// Normalisation would leave nothing of an image in one colour.
  static Tensor two_colours(int64_t i) {
    Tensor image = plain(30 * i, 250 - 30 * i, 10);
    image.narrow(i % 2 + 1, i / 2 + 1, 3).copy_(plain(250, 30 * i, 200).narrow(i % 2 + 1, 0, 3));
    return image;
  }

  TrainOptions options(const std::string& output) const {
    TrainOptions options;
    options.data = root / "data";
    options.output = root / output;
    options.config_file = "config.json";
    options.config = {{"_class_name", "AutoencoderKL"},
                      {"sample_size", 8},
                      {"latent_channels", 2},
                      {"block_out_channels", {8, 8}},
                      {"down_block_types", {"DownEncoderBlock2D", "DownEncoderBlock2D"}},
                      {"up_block_types", {"UpDecoderBlock2D", "UpDecoderBlock2D"}},
                      {"norm_num_groups", 4}};
    options.batch = 4;
    options.warmup = 2;
    options.learning_rate = 3e-3;
    options.log_every = 4;
    options.save_every = 3;
    options.sample_every = 0;
    options.seed = 5;
    return options;
  }
};

AutoencoderKL load(const fs::path& folder) {
  Component component = component_in(folder);
  Weights weights({std::move(component.tensors), {}}, component.file);
  AutoencoderKL vae(component.config, weights);
  weights.finish();
  return vae;
}

Tensor images_of(const fs::path& folder) { return from_bytes(load_dataset(folder, 8).images); }

TEST_F(AutoencoderTraining, ResumesExactly) {
  expect_exact_resume(options("whole"), kAutoencoderFiles);
}

TEST_F(AutoencoderTraining, LearnsToCodeAndSavesNormalisedLatents) {
  TrainOptions run = options("run");
  run.ema = {averaging_from("0.9")};
  run.log_every = 40;
  run.sample_every = 200;
  train_to(200, run);
  EXPECT_LT(loss_at("run", 4), 0.5 * loss_at("run", 0));
  EXPECT_TRUE(fs::exists(run.output / "samples" / "step-200.png"));

  const AutoencoderKL vae = load(run.output);
  EXPECT_EQ(vae.config().scaling_factor, 1);
  const Tensor images = images_of(run.data), latents = vae.encode(images).mean;
  EXPECT_TRUE(latents.mean({0, 2, 3}).abs().lt(1e-3).all().item<bool>());
  EXPECT_TRUE((latents.std({0, 2, 3}, false) - 1).abs().lt(1e-3).all().item<bool>());
  EXPECT_LT((vae.decode(latents) - images).abs().mean().item<double>(), 0.25);
}

TEST_F(AutoencoderTraining, RefusesWhatActsOnUnetsAlone) {
  const auto refuses = [&](const std::string& flag, const auto& ask) {
    TrainOptions run = options("run");
    ask(run);
    try {
      train_to(1, run);
      FAIL() << flag;
    } catch (const UsageError& error) {
      EXPECT_EQ(error.what(), "--" + flag + ": got it for an autoencoder, expected a UNet.");
    }
    EXPECT_FALSE(fs::exists(run.output)) << flag;
  };
  refuses("gradient-checkpointing", [](TrainOptions& run) { run.recompute = true; });
  refuses("pfgmpp", [](TrainOptions& run) { run.augmented = 8; });
  refuses("min-snr", [](TrainOptions& run) { run.min_snr = 5; });
  refuses("timesteps", [](TrainOptions& run) { run.timesteps = TimestepRule::loss_second_moment; });
  refuses("input-perturbation", [](TrainOptions& run) { run.input_perturbation_given = true; });
  refuses("label-dropout", [](TrainOptions& run) { run.label_dropout_given = true; });
  refuses("sample-guidance", [](TrainOptions& run) { run.sample_guidance = "none"; });
  TrainOptions zeros = options("zeros");
  zeros.input_perturbation_given = zeros.label_dropout_given = true;
  zeros.input_perturbation = zeros.label_dropout = 0;
  EXPECT_NO_THROW(train_to(1, zeros));
}

TEST_F(AutoencoderTraining, RefusesShapesThatDontFitImages) {
  const auto refusal = [&](const std::string& key, int64_t value) -> std::string {
    TrainOptions run = options("run");
    run.config[key] = value;
    run.data = "nowhere";
    try {
      train_to(1, run);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  const std::string images = ", expected the 3 channels of images.";
  EXPECT_EQ(refusal("out_channels", 1), "config.json: out_channels: got 1" + images);
  EXPECT_EQ(refusal("in_channels", 4), "config.json: in_channels: got 4" + images);
  EXPECT_EQ(
      refusal("sample_size", 9),
      "config.json: sample_size: got 9, expected a multiple of 2, which the network can halve "
      "down to its end.");
}

/// A fresh autoencoder in several copies of the same weights.
struct Coder {
  explicit Coder(NamedTensors tensors, const nlohmann::json& config)
      : weights({std::move(tensors), {}}, "test"), vae(config, weights) {}
  Weights weights;
  AutoencoderKL vae;
};

TEST_F(AutoencoderTraining, NormalisingChangesLatentsAlone) {
  const auto config = options("").config;
  Weights fresh(3);
  const AutoencoderKL before(config, fresh);
  NamedTensors tensors = fresh.finish();
  const Tensor images = images_of(root / "data");
  const LatentDistribution latents = before.encode(images);
  const Tensor mean = latents.mean.mean({0, 2, 3}, true),
               std = latents.mean.std({0, 2, 3}, false, true);
  normalise_latents(tensors, latents.mean);
  const AutoencoderKL after = Coder(std::move(tensors), config).vae;
  const LatentDistribution changed = after.encode(images);
  EXPECT_TRUE(changed.mean.allclose((latents.mean - mean) / std, 1e-3, 1e-4));
  EXPECT_TRUE(changed.logvar.allclose(latents.logvar - 2 * std.log(), 1e-3, 1e-4));
  EXPECT_TRUE(after.decode(changed.mean).allclose(before.decode(latents.mean), 1e-4, 1e-5));
}

TEST(AutoencoderLoss, KlIsZeroForAUnitNormal) {
  const Tensor zero = at::zeros({3, 2, 4, 4});
  EXPECT_EQ(kl_divergences({zero, zero}).max().item<double>(), 0);
  // KL(N(1, 1) || N(0, 1)) = 1/2 for each of 32 values.
  EXPECT_NEAR(kl_divergences({zero + 1, zero}).max().item<double>(), 16, 1e-4);
}

TEST(AutoencoderLoss, ABlurCostsMoreThanAShade) {
  Tensor edge = at::zeros({1, 3, 8, 8});
  edge.narrow(3, 4, 4).fill_(1);
  Tensor soft = edge.clone();
  soft.narrow(3, 3, 2).fill_(0.5);
  const double blur = reconstruction_losses(soft, edge).item<double>(),
               shade = reconstruction_losses(edge + 0.125, edge).item<double>();
  EXPECT_NEAR((soft - edge).abs().mean().item<double>(), 0.125, 1e-6);
  EXPECT_GT(blur, 1.5 * shade);
}

}  // namespace
}  // namespace tiller::test
