#include <ATen/ATen.h>

#include "models/model.h"
#include "tests/training/pipeline_runs.h"

namespace tiller::test {
namespace {

class ClassToImageTraining : public PipelineRuns {
 protected:
  ClassToImageTraining() {
    const std::vector<std::string> names = {"red", "green", "blue"};
    for (int i = 0; i < 9; ++i)
      write("data/" + names[i % 3] + "/" + std::to_string(i) + ".png", square(i));
  }

  TrainOptions options(const std::string& output) const {
    TrainOptions options = short_run(output);
    options.config = {{"unet", tiny_unet(8, 3)}, {"scheduler", velocity_scheduler()}};
    return options;
  }
};

TEST_F(ClassToImageTraining, LearnsWhatAClassLooksLike) {
  TrainOptions run = options("run");
  run.input_perturbation = 0;
  run.batch = 24;
  run.log_every = 50;
  run.save_every = 1000;
  run.sample_every = 300;
  run.sample_guidance = "cfg:scale=1.5";
  train_to(300, run);
  EXPECT_LT(loss_at("run", 5), 0.5 * loss_at("run", 0));
  EXPECT_TRUE(fs::exists(run.output / "samples/step-300.png"));
}

TEST_F(ClassToImageTraining, SavesAFolderThatLoads) {
  train_to(2, options("run"));
  const Model model = load_model(root / "run");
  EXPECT_EQ(model.kind, "class_to_image");
  EXPECT_EQ(model.class_names, (std::vector<std::string>{"blue", "green", "red"}));
  EXPECT_EQ(model.classes, 3);
  EXPECT_TRUE(model.null_label);
  EXPECT_FALSE(model.reads_text() || model.text || model.vae);
  EXPECT_EQ(model.image_size, 8);
  EXPECT_EQ(model.config.at("num_class_embeds"), 4);
}

TEST_F(ClassToImageTraining, ResumesExactlyInLatents) {
  train_vae();
  TrainOptions run = options("whole");
  run.config["vae"] = (root / "vae").string();
  run.config["unet"]["sample_size"] = 4;
  run.config["unet"]["in_channels"] = run.config["unet"]["out_channels"] = 4;
  expect_exact_resume(run, {"unet/diffusion_pytorch_model.safetensors", "unet/config.json",
                            "vae/config.json", "model_index.json"});
  const Model model = load_model(run.output);
  EXPECT_TRUE(model.vae);
  EXPECT_EQ(model.image_size, 8);
}

TEST_F(ClassToImageTraining, GoesOnFromASavedFolder) {
  train_to(4, options("first"));
  TrainOptions second = options("second");
  second.initial = root / "first";
  second.learning_rate = 0;
  train_to(1, second);
  const auto first = load_model(root / "first").parameters,
             same = load_model(root / "second").parameters;
  for (size_t i = 0; i < first.size(); ++i)
    EXPECT_TRUE(first[i].second.allclose(same[i].second)) << first[i].first;
}

TEST_F(ClassToImageTraining, NamesWhatDoesntFit) {
  TrainOptions run = options("run");
  run.config["unet"]["num_class_embeds"] = 3;
  EXPECT_EQ(refusal(run), "config.json: unet.num_class_embeds: got 3, expected 4, the classes of " +
                              run.data.string() + " and one for none, or to be left out.");
  run = options("run");
  run.config["prompts"] = {"a red square"};
  EXPECT_TRUE(refusal(run).starts_with("config.json: prompts: got some without text_encoder"));
  run = options("run");
  run.data = root / "flat";
  write("flat/a.png", png(1, 2, 3));
  EXPECT_TRUE(refusal(run).starts_with(run.data.string() + ": got images without classes"));
}

}  // namespace
}  // namespace tiller::test
