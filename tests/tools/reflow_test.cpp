/// Pairs of noise and samples: what generate writes, and what train makes of them.
#include "tests/tools/program.h"
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
  const auto straightness = [&](const std::string& model) {
    const Result result = tiller("generate --quiet --json --model " + model +
                                 " --count 6 --seed 3 --steps 8 --sampler euler --output a.png");
    EXPECT_EQ(result.code, 0) << result.err;
    return Json::parse(result.out).at("straightness").get<double>();
  };
  const Result trained = tiller(
      "train --quiet --data pairs.safetensors --model-config flow.json --initial "
      "flow/model.safetensors --output straight --batch 6 --steps 60 --warmup 0 --lr 0.002 --ema "
      "0.9 "
      "--input-perturbation 0 --sample-every 0");
  ASSERT_EQ(trained.code, 0) << trained.err;
  EXPECT_LT(straightness("straight"), 0.9 * straightness("flow"));
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
  expect_refused("generate --model flow --save-latents p.safetensors --save-pairs p.safetensors",
                 "which is --save-latents's file");
}

}  // namespace
}  // namespace tiller::test
