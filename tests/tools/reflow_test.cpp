/// Pairs of noise and samples: what generate writes, and what train makes of them.
#include "tests/tools/program.h"
#include "tests/training/tiny_pipeline.h"
#include "training/batches.h"
#include "training/dataset.h"
#include "training/noising.h"

namespace tiller::test {
namespace {

class Reflow : public ProgramTest {
 protected:
  Json config(const std::string& type) const {
    Json config = tiny_config();
    config.update({{"prediction_type", type}, {"learn_sigma", false}});
    return config;
  }
  static std::string steps_of(const std::string& steps) {
    return " --batch 6 --warmup 0 --lr 0.002 --ema 0.9 --input-perturbation 0 --sample-every 0 "
           "--steps " +
           steps;
  }
  double straightness(const std::string& model) const {
    const Result result = must("generate --quiet --json --model " + model +
                               " --count 6 --seed 3 --steps 8 --sampler euler --output a.png");
    return Json::parse(result.out).at("straightness").get<double>();
  }
  /// Squares of two classes, and a line of text beside each.
  void write_squares() const {
    for (const std::string name : {"ant", "bee"}) {
      write_png(folder / "data" / name / "0.png",
                at::full({3, 16, 16}, name == "ant" ? 20 : 200, at::kByte));
      write_file(folder / "data" / name / "0.txt", "an " + name);
    }
  }
  /// A flow of pixels, trained for a moment.
  void make_pipeline(Json config) const {
    write_squares();
    config.update({{"unet", tiny_unet(16, 3)},
                   {"scheduler", {{"_class_name", "FlowMatchEulerDiscreteScheduler"}}}});
    write_file(folder / "flow.json", config.dump());
    must("train --quiet --data data --model-config flow.json --output flow" + steps_of("20"));
  }
  void make_pairs() {
    make_model("flow", config("flow"));
    const Result result = tiller(
        "generate --quiet --model flow --count 6 --batch 4 --steps 4 --sampler heun --seed 3 "
        "--output made --save-latents z.safetensors --save-pairs pairs.safetensors");
    ASSERT_EQ(result.code, 0) << result.err;
  }
};

TEST_F(Reflow, PairsAreTheNoiseOfEachSeedAndWhatCameOfIt) {
  make_pairs();
  const Dataset pairs = load_dataset(folder / "pairs.safetensors", 16);
  EXPECT_TRUE(
      at::equal(pairs.images, load_safetensors(folder / "z.safetensors").tensors[0].second));
  EXPECT_TRUE(at::equal(pairs.labels, at::tensor({0, 1, 2, 0, 1, 2}, at::kLong)));
  for (int64_t image = 0; image < 6; ++image) {
    auto generator = at::detail::createCPUGenerator(uint64_t(3 + image));
    EXPECT_TRUE(at::equal(pairs.noise[image], at::randn({3, 16, 16}, generator, at::kFloat)));
  }
}

/// A pair stays one, and is what the network sees.
TEST_F(Reflow, ExamplesLieBetweenTheTwo) {
  make_pairs();
  const Dataset pairs = load_dataset(folder / "pairs.safetensors", 16);
  Batches batches(pairs, 6, 0, /*flip=*/true);
  const TrainBatch batch = batches.at(0);
  const Tensor order = batches.indices(0);
  EXPECT_TRUE(at::equal(batch.images, pairs.images.index_select(0, order)));
  EXPECT_TRUE(at::equal(batch.noise, pairs.noise.index_select(0, order)));
  TrainOptions options;
  options.batch = 6;
  options.input_perturbation = 0;
  Noising noising(options, {.prediction = PredictionType::flow,
                            .schedule = flow_schedule(PredictionType::flow)});
  const TrainExample example = noising.example(0, {0, 6}, batch.images, batch.noise);
  EXPECT_TRUE(at::allclose(example.target, batch.noise - batch.images, 1e-5, 1e-6));
  const Tensor share = (example.timesteps / 1000).view({-1, 1, 1, 1});
  EXPECT_TRUE(
      at::allclose(example.x, (1 - share) * batch.images + share * batch.noise, 1e-4, 1e-4));
}

TEST_F(Reflow, TrainingOnPairsStraightensPaths) {
  make_pairs();
  write_file(folder / "flow.json", config("flow").dump());
  must(
      "train --quiet --data pairs.safetensors --model-config flow.json --initial "
      "flow/model.safetensors --output straight" +
      steps_of("60"));
  EXPECT_LT(straightness("straight"), 0.9 * straightness("flow"));
}

/// Pairs are the latents themselves, and the model that learns them decodes.
TEST_F(Reflow, StraightensPathsOfLatents) {
  write_squares();
  write_file(folder / "vae.json", tiny_vae(16).dump());
  must("train --quiet --data data --model-config vae.json --output vae --batch 2 --steps 1");
  Json config = this->config("flow");
  config.update({{"vae", "vae"}, {"image_size", 8}, {"in_channels", 4}});
  make_model("flow", config);
  write_file(folder / "flow.json", config.dump());
  fs::copy(folder / "vae", folder / "flow/vae");
  must(
      "generate --quiet --model flow --count 6 --batch 4 --steps 4 --sampler heun --seed 3 "
      "--output made --save-latents z.safetensors --save-pairs pairs.safetensors");
  const Dataset pairs = load_dataset(folder / "pairs.safetensors", 8);
  EXPECT_TRUE(at::equal(pairs.images, latents("z.safetensors")));
  EXPECT_EQ(pairs.class_names, (std::vector<std::string>{"ant", "bee", "cat"}));
  auto generator = at::detail::createCPUGenerator(4);
  EXPECT_TRUE(at::equal(pairs.noise[1], at::randn({4, 8, 8}, generator, at::kFloat)));
  must(
      "train --quiet --data pairs.safetensors --model-config flow.json --initial "
      "flow/model.safetensors --output straight" +
      steps_of("60"));
  EXPECT_LT(straightness("straight"), 0.9 * straightness("flow"));
}

/// Of one class alone, and yet the model knows both.
TEST_F(Reflow, PipelinesOfClassesLearnPairs) {
  make_pipeline({});
  must(
      "generate --quiet --model flow --class bee --count 4 --steps 4 --output made "
      "--save-pairs pairs.safetensors");
  const Dataset pairs = load_dataset(folder / "pairs.safetensors", 16);
  EXPECT_TRUE(at::equal(pairs.labels, at::ones({4}, at::kLong)));
  const Result trained = must(
      "train --data pairs.safetensors --model-config flow.json --initial flow --output "
      "straight" +
      steps_of("2"));
  EXPECT_NE(trained.err.find("class 'ant' has no image"), std::string::npos) << trained.err;
  must("generate --quiet --model straight --class ant --steps 2 --output a.png");
}

TEST_F(Reflow, PipelinesOfTextLearnPairs) {
  make_pipeline({{"tokenizer", TILLER_FIXTURES "/clip_tokenizer/vocab"},
                 {"text_encoder", tiny_text_encoder()}});
  must(
      "generate --quiet --model flow --prompt 'an ant' --prompt 'a bee' --count 4 --steps 4 "
      "--output made --save-pairs pairs.safetensors");
  const std::vector<std::string> captions = {"an ant", "a bee", "an ant", "a bee"};
  EXPECT_EQ(load_dataset(folder / "pairs.safetensors", 16).captions, captions);
  must(
      "train --quiet --data pairs.safetensors --model-config flow.json --initial flow --output "
      "straight" +
      steps_of("2"));
  must("generate --quiet --model straight --prompt 'a bee' --steps 2 --output a.png");
}

TEST_F(Reflow, MistakesAreOneLine) {
  make_pairs();
  write_file(folder / "epsilon.json", config("epsilon").dump());
  const std::string train = "train --quiet --output run --steps 1 --model-config ";
  expect_refused(train + "epsilon.json --data pairs.safetensors", "pairs teach flows");
  Json config = this->config("flow");
  write_file(folder / "flow.json", config.dump());
  expect_refused(train + "flow.json --data z.safetensors", "no tensor 'samples'");
  config["image_size"] = 32;
  write_file(folder / "large.json", config.dump());
  expect_refused(train + "large.json --data pairs.safetensors", "expected float32");
  expect_refused("generate --model flow --save-pairs p.safetensors --compare none --output a.png",
                 "--save-pairs: got it with --compare");
  expect_refused("generate --from made/00000.png --save-pairs p.safetensors --output a.png",
                 "expected a run from noise to images");
  expect_refused("generate --model flow --size 16x32 --save-pairs p.safetensors --output a.png",
                 "--save-pairs: got it with --size 16x32, expected a square");
  expect_refused("generate --model flow --save-latents p.safetensors --save-pairs p.safetensors",
                 "which is --save-latents's file");
}

}  // namespace
}  // namespace tiller::test
