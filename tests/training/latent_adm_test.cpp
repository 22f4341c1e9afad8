#include "models/latent_adm.h"

#include <ATen/ATen.h>

#include "io/safetensors.h"
#include "tests/training/training_runs.h"

namespace tiller::test {
namespace {

class LatentAdm : public TrainingRuns {
 protected:
  LatentAdm() {
    for (int i = 0; i < 9; ++i)
      write("data/" + std::to_string(i % 3) + "/" + std::to_string(i) + ".png",
            png(i % 3 == 0 ? 250 : 5, i % 3 == 1 ? 250 : 5, i % 3 == 2 ? 250 : 5));
    train_vae();
  }

  TrainOptions options(const std::string& output) const {
    TrainOptions options = short_run(output);
    options.config = latent_adm("v_prediction");
    options.config["noise_schedule"] = "cosine";
    return options;
  }
};

TEST_F(LatentAdm, ResumesExactly) {
  expect_exact_resume(options("whole"), {"model.safetensors", "config.json",
                                         "vae/diffusion_pytorch_model.safetensors"});
}

/// The second run doesn't encode: it learns what the file has.
TEST_F(LatentAdm, ADataCacheKeepsLatents) {
  TrainOptions run = options("run"), cached = options("cached"), again = options("again");
  run.log_every = cached.log_every = again.log_every = 1;
  cached.data_cache = again.data_cache = root / "cache";
  train_to(2, run);
  train_to(2, cached);
  EXPECT_EQ(loss_at("cached", 1), loss_at("run", 1));
  fs::path file;
  for (const auto& entry : fs::directory_iterator(root / "cache"))
    if (entry.path().extension() == ".safetensors") file = entry.path();
  const Tensor latents = load_safetensors(file).tensors.at(0).second.clone();
  EXPECT_EQ(latents.size(0), 18) << "both views of nine images";
  save_safetensors(file, {{"latents", latents + 10}});
  train_to(2, again);
  EXPECT_GT(loss_at("again", 1), 2 * loss_at("run", 1));
  write(file.lexically_relative(root).string(), "damaged");
  fs::remove_all(again.output);
  train_to(2, again);
  EXPECT_EQ(loss_at("again", 1), loss_at("run", 1));
}

TEST_F(LatentAdm, LearnsTheClassesLatents) {
  TrainOptions run = options("run");
  run.batch = 24;
  run.input_perturbation = 0;
  run.log_every = 50;
  run.save_every = 1000;
  train_to(200, run);
  EXPECT_LT(loss_at("run", 3), 0.6 * loss_at("run", 0));
}

TEST_F(LatentAdm, SavesAModelThatLoads) {
  TrainOptions run = options("run");
  run.sample_every = 1;
  train_to(1, run);
  fs::rename(run.output, root / "moved");
  fs::remove_all(root / "vae");
  const Model model = load_model(root / "moved");
  ASSERT_TRUE(model.vae);
  EXPECT_EQ(model.kind, "adm");
  EXPECT_EQ(model.image_size, 8);
  EXPECT_EQ(model.pixel_scale, 2);
  EXPECT_EQ(model.classes, 3);
  const Tensor samples = read_image(root / "moved" / "samples" / "step-1.png");
  EXPECT_GE(samples.size(1), 3 * 8);
  EXPECT_GE(samples.size(2), 8 * 8);
}

TEST_F(LatentAdm, SaysWhatDoesNotFit) {
  TrainOptions run = options("run");
  run.config["in_channels"] = 3;
  EXPECT_NE(failure(run).find("in_channels: got 3, expected the 4 of the vae's latents"),
            std::string::npos)
      << failure(run);
  run = options("run");
  run.config["vae"] = "nowhere";
  EXPECT_NE(failure(run).find("vae: got 'nowhere', which isn't there"), std::string::npos);
  run.config["vae"] = 7;
  EXPECT_NE(failure(run).find("vae: got 7"), std::string::npos);
}

TEST_F(LatentAdm, AModelsVaeLiesInItsOwnFolder) {
  for (const char* elsewhere : {"../vae", "..", "/tmp", "a/b", "missing"}) {
    write("model/config.json", Json{{"vae", elsewhere}}.dump());
    EXPECT_THROW(vae_of_model(root / "model"), Error) << elsewhere;
  }
  write("model/config.json", "{}");
  EXPECT_TRUE(vae_of_model(root / "model").empty());
}

}  // namespace
}  // namespace tiller::test
