#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

/// A UNet2DConditionModel of two classes, trained for a step.
class ClassToImage : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    for (const char* name : {"ant", "bee"}) {
      fs::create_directories(folder / "data" / name);
      write_png(folder / "data" / name / "0.png",
                at::full({3, 8, 8}, name[0] == 'a' ? 20 : 200, at::kByte));
    }
    write_file(folder / "config.json", R"({
      "unet": {"sample_size": 8, "in_channels": 3, "out_channels": 3, "layers_per_block": 1,
               "block_out_channels": [16, 16], "attention_head_dim": 2, "norm_num_groups": 8,
               "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
               "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"]},
      "scheduler": {"_class_name": "DDIMScheduler", "beta_schedule": "squaredcos_cap_v2",
                    "prediction_type": "v_prediction", "timestep_spacing": "trailing"}})");
    const Result trained = tiller(
        "train --quiet --data data --model-config config.json --output run --batch 2 --steps 3 "
        "--lr 0.01 --warmup 0 --ema 0 --sample-every 0");
    ASSERT_EQ(trained.code, 0) << trained.err;
  }

  Tensor latents(const std::string& flags) {
    const Result result = tiller(
        "generate --quiet --model run --steps 2 --output a.png --save-latents a.safetensors " +
        flags);
    EXPECT_EQ(result.code, 0) << result.err;
    return load_safetensors(folder / "a.safetensors").tensors.front().second;
  }
};

TEST_F(ClassToImage, IsGuidedByItsClasses) {
  const Tensor bee = latents("--class bee");
  EXPECT_TRUE(bee.equal(latents("--class 1")));
  EXPECT_FALSE(bee.equal(latents("--class ant")));
  for (const char* guidance : {"cfg", "pag", "icg"})
    EXPECT_FALSE(bee.equal(latents("--class bee --guidance " + std::string(guidance) + ":scale=3")))
        << guidance;
  EXPECT_FALSE(bee.equal(latents("--class bee --prediction-type epsilon")));
  latents("--class ant,bee --count 4 --guidance 'cfg:scale=3 + tpg' --low-memory");
}

TEST_F(ClassToImage, IsInvertedExactly) {
  Result result = tiller(
      "invert --quiet --model run --image data/bee/0.png --class bee --steps 3 --output "
      "i.safetensors --guidance cfg:scale=2 --save-latents z0.safetensors");
  ASSERT_EQ(result.code, 0) << result.err;
  result = tiller(
      "generate --quiet --inversion i.safetensors --output y.png --save-latents z1.safetensors");
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_TRUE(load_safetensors(folder / "z0.safetensors")
                  .tensors[0]
                  .second.equal(load_safetensors(folder / "z1.safetensors").tensors[0].second));
}

TEST_F(ClassToImage, InfoTellsItsClasses) {
  const Json info = Json::parse(tiller("info run --json").out);
  EXPECT_EQ(info.at("kind"), "class_to_image");
  EXPECT_EQ(info.at("class_names"), Json({"ant", "bee"}));
}

TEST_F(ClassToImage, ReadsNoText) {
  for (const std::string flags :
       {"--prompt bee", "--class bee --lora a.safetensors", "--class bee --control a:b.png",
        "--class bee --guidance nag", "--class cat"}) {
    const Result result = tiller("generate --quiet --model run --output b.png " + flags);
    EXPECT_EQ(result.code, 2) << flags << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  }
}

TEST_F(ClassToImage, DamagedLabelsAreRefused) {
  const std::string index = bytes("run/model_index.json");
  for (const std::string labels :
       {R"({"0": "ant"})", R"({"0": "ant", "2": "bee"})", R"({"0": 1, "1": 2})", "[]", "{}"}) {
    Json json = Json::parse(index);
    json["id2label"] = Json::parse(labels);
    write_file(folder / "run/model_index.json", json.dump());
    const Result result = tiller("generate --quiet --model run --output b.png --class 0");
    EXPECT_EQ(result.code, 1) << labels << result.err;
    EXPECT_NE(result.err.find("id2label"), std::string::npos) << result.err;
  }
}

}  // namespace
}  // namespace tiller::test
