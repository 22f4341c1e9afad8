#include "tests/tools/ldm_pipeline.h"

namespace tiller::test {
namespace {

/// Models that edit images, against tests/reference/make_instruct_pipelines.py.
class InstructPipelines : public SingleFiles {
 protected:
  /// A UNet of eight channels in the tiny pipeline `base`, with these words in its index.
  void make_editor(const std::string& name, const std::string& base,
                   const Json& words = Json::object()) const {
    Json entry = fixture().at(base);
    entry["configs"]["unet"]["in_channels"] = 8;
    entry["class"] = base == "sdxl" ? "StableDiffusionXLInstructPix2PixPipeline"
                                    : "StableDiffusionInstructPix2PixPipeline";
    make_pipeline(name, entry);
    Json index = Json::parse(bytes(name + "/model_index.json"));
    index.update(words);
    write(name + "/model_index.json", index.dump());
    make_picture_and_mask();
    const Tensor wide = ((formula_tensor("wide", {56, 72, 3}) + 1) * 127.5).round();
    write_png(folder / "wide.png", wide.to(at::kByte).permute({2, 0, 1}).contiguous());
  }

  void expect_all_runs(const std::string& name, const std::string& base,
                       const Json& words = Json::object()) const {
    const Json reference = test::fixture("instruct_pipelines.json");
    make_editor(name, base, words);
    for (const Json& run : reference.at(name)) {
      const std::string flags = run.at("flags");
      SCOPED_TRACE(flags);
      const Tensor got =
          latents_of(command(name, flags)).flatten().slice(0, 0, {}, reference.at("every"));
      const Tensor expected = at::tensor(run.at("values").get<std::vector<float>>());
      ASSERT_EQ(got.sizes(), expected.sizes());
      EXPECT_LT((got - expected).abs().max().item<double>() / run.at("largest").get<double>(),
                1e-4);
    }
  }

  std::string edit(const std::string& more) const {
    return command("sd1",
                   with_defaults(more, {"--init-image picture.png", "--steps 3", "--sampler ddim",
                                        "--guidance cfg:scale=5,image_scale=2"}));
  }
};

TEST_F(InstructPipelines, Sd1EqualsDiffusers) { expect_all_runs("sd1", "sd1"); }
TEST_F(InstructPipelines, SdxlEqualsDiffusers) { expect_all_runs("sdxl", "sdxl"); }
TEST_F(InstructPipelines, CosxlsImageIsScaled) {
  expect_all_runs("cosxl", "sdxl", {{"is_cosxl_edit", true}});
}

TEST_F(InstructPipelines, AnEdmModelsImageIsScaledUnlessItsIndexSaysNo) {
  const auto edited = [&](const std::string& name, const Json& words) {
    make_editor(name, "sdxl", words);
    write(name + "/scheduler/scheduler_config.json",
          R"({"_class_name": "EDMEulerScheduler", "prediction_type": "v_prediction"})");
    return latents_of(command(name, "--init-image picture.png --steps 2"));
  };
  const Tensor usual = edited("usual", Json::object());
  EXPECT_TRUE(edited("yes", {{"is_cosxl_edit", true}}).equal(usual));
  EXPECT_GT(relative_error(edited("no", {{"is_cosxl_edit", false}}), usual), 1e-3);
}

TEST_F(InstructPipelines, OneFileGivesTheLatentsOfTheFolder) {
  make_editor("sd1", "sd1");
  const Tensor expected = latents_of(edit(""));
  save_safetensors(folder / "one.safetensors", ldm_tensors("sd1"));
  const Tensor got = latents_of(edit("--model one.safetensors --config sd1"));
  EXPECT_LT(relative_error(got, expected), 1e-5);
  const std::string info = must("info one.safetensors --config sd1").out;
  EXPECT_NE(info.find("edits an image (InstructPix2Pix)"), std::string::npos) << info;
}

TEST_F(InstructPipelines, WhatSavesMemoryOrTimeChangesNothing) {
  make_editor("sd1", "sd1");
  const Tensor expected = latents_of(edit("--count 2 --grid 2 --batch 1"));
  for (const std::string more :
       {"--batch 2", "--low-memory", "--share off", "--vae-tiling", "--parallel picard"}) {
    const Tensor got = latents_of(edit("--count 2 --grid 2 " + more));
    EXPECT_LT(relative_error(got, expected), 1e-3) << more;
  }
}

TEST_F(InstructPipelines, OtherGuidancesJoin) {
  make_editor("sd1", "sd1");
  const Tensor plain = latents_of(edit(""));
  for (const std::string other : {"pag", "tpg", "asag", "seg", "slg", "sag", "tsg", "icg", "nag",
                                  "swg:windows=2,window=0.75"}) {
    const std::string sum = "'cfg:scale=5,image_scale=2 + " + other + "'";
    const Tensor got = latents_of(edit("--guidance " + sum));
    EXPECT_GT(relative_error(got, plain), 1e-4) << other;
  }
  for (const std::string form : {"apg", "cfg-zero", "tcfg", "fdg", "perp-neg", "dynthresh"})
    EXPECT_EQ(tiller(edit("--guidance " + form)).code, 0) << form;
}

TEST_F(InstructPipelines, ARecipeMakesTheSameBytesAgain) {
  make_editor("sd1", "sd1");
  const Json report = Json::parse(must(edit("--guidance cfg:scale=5 --json")).out);
  EXPECT_EQ(report.at("branches"), 9);
  EXPECT_EQ(report.at("evaluations"), 3);
  EXPECT_GT(report.at("flops_saved"), 0);
  must("generate --quiet --from y.png --output again.png");
  EXPECT_EQ(bytes("y.png"), bytes("again.png"));
  const std::string text = must("info y.png").out;
  EXPECT_NE(text.find("CFG scale: 5, Image CFG scale: 1.5,"), std::string::npos) << text;
  write_picture("picture.png", 64);
  expect_refused("generate --quiet --from y.png --output again.png", "picture.png");
}

TEST_F(InstructPipelines, StrengthIsIdle) {
  make_editor("sd1", "sd1");
  const Tensor expected = latents_of(edit(""));
  EXPECT_TRUE(latents_of(edit("--strength 0.3")).equal(expected));
  const Result loud = tiller(
      "generate --model sd1 --prompt fox --init-image picture.png --steps 1 "
      "--strength 0.3 --output z.png");
  EXPECT_NE(loud.err.find("doesn't read --strength"), std::string::npos) << loud.err;
}

TEST_F(InstructPipelines, WhatDoesntFitIsRefused) {
  make_editor("sd1", "sd1");
  expect_refused(command("sd1", ""), "--init-image: got none, expected the image to edit");
  expect_refused(edit("--mask mask.png"), "--mask: got mask.png, expected none");
  expect_refused(edit("--guidance cfg:image_scale=0.5"), "image_scale: got '0.5'");
  const std::string reads = "a network that edits images (InstructPix2Pix)";
  expect_refused(edit("--save-inversion n.safetensors --sampler bdia"), reads);
  const std::string words = " --model sd1 --prompt fox --quiet ";
  expect_refused("invert --image picture.png --output n.safetensors" + words, reads);
  expect_refused("edit --image picture.png --edit-prompt cat --output e.png" + words, reads);
  expect_refused("evaluate --scheme none --samples 2 --output report" + words, reads);
  make_pipeline("plain", fixture().at("sd1"));
  expect_refused(command("plain", "--guidance cfg:image_scale=1.5"),
                 "image_scale: got '1.5', expected none");
}

TEST_F(InstructPipelines, AnotherPipelinesNetworkIsRefused) {
  make_editor("sd1", "sd1", {{"_class_name", "MarigoldDepthPipeline"}});
  expect_refused(edit(""), "_class_name: got 'MarigoldDepthPipeline'");
}

}  // namespace
}  // namespace tiller::test
