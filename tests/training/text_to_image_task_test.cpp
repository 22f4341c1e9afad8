#include <ATen/ATen.h>

#include "models/model.h"
#include "tests/training/pipeline_runs.h"
#include "training/pipeline_files.h"

namespace tiller::test {
namespace {

const std::vector<std::string> kPipelineFiles = {"unet/diffusion_pytorch_model.safetensors",
                                                 "unet/config.json",
                                                 "text_encoder/model.safetensors",
                                                 "text_encoder/config.json",
                                                 "vae/diffusion_pytorch_model.safetensors",
                                                 "vae/config.json",
                                                 "tokenizer/vocab.json",
                                                 "scheduler/scheduler_config.json",
                                                 "model_index.json"};

class TextToImageTraining : public PipelineRuns {
 protected:
  TextToImageTraining() {
    const std::vector<std::string> words = {"red", "green", "blue"};
    for (int i = 0; i < 9; ++i) {
      const auto name = "data/" + std::to_string(i);
      write(name + ".png", square(i));
      write(name + ".txt", "a " + words[i % 3] + " square");
    }
    train_vae();
  }

  TrainOptions options(const std::string& output) const {
    TrainOptions options = short_run(output);
    options.config = {{"vae", (root / "vae").string()},
                      {"tokenizer", TILLER_FIXTURES "/clip_tokenizer/vocab"},
                      {"unet", tiny_unet(4, 4)},
                      {"text_encoder", tiny_text_encoder()},
                      {"scheduler", velocity_scheduler()}};
    options.config["unet"]["dropout"] = 0.1;
    return options;
  }
};

TEST_F(TextToImageTraining, ResumesExactly) {
  expect_exact_resume(options("whole"), kPipelineFiles);
}

TEST_F(TextToImageTraining, LearnsWhatTheTextSays) {
  TrainOptions run = options("run");
  run.config["unet"]["dropout"] = 0.0;
  run.input_perturbation = 0;
  run.batch = 24;
  run.log_every = 50;
  run.save_every = 1000;
  train_to(300, run);
  EXPECT_LT(loss_at("run", 5), 0.6 * loss_at("run", 0));
}

TEST_F(TextToImageTraining, LearnsFlows) {
  TrainOptions run = options("run");
  run.config["unet"]["dropout"] = 0.0;
  run.config["scheduler"] = {{"_class_name", "FlowMatchEulerDiscreteScheduler"}, {"shift", 2.0}};
  run.batch = 24;
  run.log_every = 50;
  run.save_every = 1000;
  run.sample_every = 200;
  train_to(200, run);
  EXPECT_LT(loss_at("run", 3), 0.8 * loss_at("run", 0));
  EXPECT_TRUE(fs::exists(run.output / "samples" / "step-200.png"));
}

TEST_F(TextToImageTraining, WorksOnPixelsWithoutAVae) {
  TrainOptions run = options("whole");
  run.config.erase("vae");
  run.config["unet"]["sample_size"] = 8;
  run.config["unet"]["in_channels"] = run.config["unet"]["out_channels"] = 3;
  run.sample_every = 6;
  expect_exact_resume(run, {kPipelineFiles[0], "model_index.json"});
  const Model model = load_model(run.output);
  EXPECT_FALSE(model.vae);
  EXPECT_EQ(model.image_size, 8);
}

TEST_F(TextToImageTraining, TheTextEncoderLearnsToo) {
  const auto weights_after = [&](int64_t steps) {
    const std::string name = "run" + std::to_string(steps);
    train_to(steps, options(name));
    return load_tensors(root / name / "text_encoder" / "model.safetensors").tensors;
  };
  const auto early = weights_after(2), late = weights_after(6);
  ASSERT_EQ(early.size(), late.size());
  for (size_t i = 0; i < early.size(); ++i) {
    const auto& name = early[i].first;
    const bool unused = name.find("k_proj.bias") != std::string::npos;  // softmax ignores it
    EXPECT_TRUE(unused || !early[i].second.equal(late[i].second)) << name;
  }
}

TEST_F(TextToImageTraining, SavesAPipelineThatLoadsAndSamplesIt) {
  TrainOptions run = options("run");
  run.sample_every = 3;
  run.sample_guidance = "cfg:scale=2";
  run.config["prompts"] = {"a red square", "nothing of the kind"};
  train_to(3, run);
  const Model model = load_model(run.output);
  EXPECT_EQ(model.kind, "text_to_image");
  EXPECT_EQ(model.image_size, 8);
  ASSERT_TRUE(model.text && model.vae);
  EXPECT_EQ(model.scheduler.at("prediction_type"), "v_prediction");
  const auto states = encode_prompt(*model.text, "a red square", {});
  EXPECT_EQ(states.context.sizes(),
            (std::vector<int64_t>{1, int64_t(model.text->towers[0].tokenizer.max_length()), 16}));
  const Tensor samples = read_image(run.output / "samples" / "step-3.png");
  EXPECT_GE(samples.size(1), 2 * 8);
  EXPECT_GE(samples.size(2), 8 * 8);
}

TEST_F(TextToImageTraining, GoesOnFromASavedFolder) {
  train_to(4, options("first"));
  TrainOptions second = options("second");
  second.initial = root / "first";
  second.learning_rate = 0;
  train_to(1, second);
  EXPECT_EQ(read_file(root / "first" / kPipelineFiles[0]).size(),
            read_file(root / "second" / kPipelineFiles[0]).size());
  const auto first = load_tensors(root / "first" / kPipelineFiles[0]).tensors,
             same = load_tensors(root / "second" / kPipelineFiles[0]).tensors;
  for (size_t i = 0; i < first.size(); ++i)
    EXPECT_TRUE(first[i].second.allclose(same[i].second)) << first[i].first;
}

TEST_F(TextToImageTraining, RefusesFlagsThatItCantUse) {
  TrainOptions run = options("run");
  run.augmented = 8;
  EXPECT_EQ(refusal(run), "--pfgmpp: got it with prediction_type v_prediction, expected edm.");
  run = options("run");
  run.config["scheduler"] = {{"_class_name", "FlowMatchEulerDiscreteScheduler"}};
  run.min_snr = 5;
  EXPECT_EQ(refusal(run),
            "--min-snr: got it with prediction_type flow, expected epsilon, sample or v.");
  run = options("run");
  run.sample_guidance = "cgf:scale=2";
  EXPECT_TRUE(refusal(run).starts_with("--sample-guidance: guidance: got 'cgf'")) << refusal(run);
  EXPECT_FALSE(fs::exists(run.output));
}

TEST_F(TextToImageTraining, RefusesAUnetThatDoesntFitItsImages) {
  const auto refused = [&](bool pixels, const std::string& key, int64_t value) {
    TrainOptions run = options("run");
    Json& unet = run.config["unet"];
    if (pixels) {
      run.config.erase("vae");
      unet["in_channels"] = unet["out_channels"] = 3;
    }
    unet[key] = value;
    run.data = "nowhere";
    return refusal(run);
  };
  const std::string images = ", expected the 3 channels of images.",
                    latents = ", expected the 4 channels of the vae's latents.";
  EXPECT_EQ(refused(true, "out_channels", 1), "config.json: unet.out_channels: got 1" + images);
  EXPECT_EQ(refused(true, "out_channels", 6), "config.json: unet.out_channels: got 6" + images);
  EXPECT_EQ(refused(true, "in_channels", 1), "config.json: unet.in_channels: got 1" + images);
  EXPECT_EQ(refused(false, "out_channels", 3), "config.json: unet.out_channels: got 3" + latents);
}

TEST_F(TextToImageTraining, RefusesAnEpsilonOfPureNoise) {
  TrainOptions run = options("run");
  run.config["scheduler"]["rescale_betas_zero_snr"] = true;
  run.config["scheduler"]["prediction_type"] = "epsilon";
  EXPECT_EQ(
      refusal(run),
      "config.json: scheduler.rescale_betas_zero_snr: got true, expected it with v_prediction "
      "or sample alone: an epsilon says nothing of pure noise.");
  run.config["scheduler"]["prediction_type"] = "v_prediction";
  EXPECT_EQ(refusal(run), "");
}

TEST_F(TextToImageTraining, SaysWhatAConfigLacks) {
  TrainOptions run = options("run");
  run.config["vae"] = "nowhere";
  EXPECT_NE(refusal(run).find("vae: got 'nowhere', which isn't there"), std::string::npos);
  run = options("run");
  run.config.erase("tokenizer");
  EXPECT_NE(refusal(run).find("tokenizer: got nothing, expected a folder"), std::string::npos);
  run = options("run");
  run.config["sheduler"] = 1;
  EXPECT_NE(refusal(run).find("Did you mean 'scheduler'?"), std::string::npos) << refusal(run);
  run = options("run");
  run.config["unet"].erase("sample_size");
  EXPECT_NE(refusal(run).find("unet.sample_size"), std::string::npos);
  run = options("run");
  for (int i = 0; i < 9; ++i) fs::remove(root / "data" / (std::to_string(i) + ".txt"));
  EXPECT_NE(refusal(run).find("images without captions"), std::string::npos);
  EXPECT_FALSE(fs::exists(run.output));
}

}  // namespace
}  // namespace tiller::test
