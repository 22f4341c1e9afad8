#include <cstring>

#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

class PipelineRuns : public Pipelines {
 protected:
  void expect_all_runs(const std::string& family) const {
    make_pipeline(family);
    for (const Json& run : fixture().at(family).at("runs")) {
      const std::string sampler = run.at("sampler");
      SCOPED_TRACE(sampler + " cfg " + run.at("cfg").dump());
      std::string more = "--sampler " + sampler;
      if (run.at("cfg") > 1) more += " --guidance cfg:scale=" + run.at("cfg").dump();
      const Result result = tiller(command(family, more));
      ASSERT_EQ(result.code, 0) << result.err;
      expect_latents(latents("x.safetensors"), run);
    }
  }

  void expect_image_runs(const std::string& family) const {
    make_pipeline(family);
    make_picture_and_mask();
    for (const Json& run : fixture().at(family).at("images")) {
      SCOPED_TRACE(run.at("sampler").dump() + run.at("strength").dump() + run.at("mask").dump());
      std::string more = "--guidance cfg:scale=5 --init-image picture.png --sampler " +
                         run.at("sampler").get<std::string>() + " --strength " +
                         run.at("strength").dump();
      if (run.at("mask").get<bool>()) more += " --mask mask.png";
      if (run.at("strict").get<bool>()) more += " --strict-diffusers";
      const Result result = tiller(command(family, more));
      ASSERT_EQ(result.code, 0) << result.err;
      expect_latents(latents("x.safetensors"), run);
    }
  }
};

TEST_F(PipelineRuns, Sd1LatentsEqualDiffusers) { expect_all_runs("sd1"); }
TEST_F(PipelineRuns, Sd2LatentsEqualDiffusers) { expect_all_runs("sd2"); }
TEST_F(PipelineRuns, SdxlLatentsEqualDiffusers) { expect_all_runs("sdxl"); }

TEST_F(PipelineRuns, InitImagesAndMasksEqualDiffusers) { expect_image_runs("sd1"); }
TEST_F(PipelineRuns, AnInpaintingUNetEqualsDiffusers) { expect_image_runs("inpainting"); }

/// tests/reference/make_soft_mask.py.
TEST_F(PipelineRuns, GrayMasksChangeTheImageInTheirShareOfTheSteps) {
  make_pipeline("sd1");
  make_picture_and_mask();
  const Json all = test::fixture("soft_mask.json");
  Tensor mask = at::zeros({3, 64, 64}, at::kByte);
  for (int64_t k = 0; k < 8; ++k) mask.narrow(2, 8 * k, 8).fill_(all.at("grays")[k].get<int>());
  write_png(folder / "gray.png", mask);
  for (const Json& run : all.at("runs")) {
    SCOPED_TRACE(run.at("sampler").dump() + run.at("strength").dump());
    must(command("sd1",
                 "--guidance cfg:scale=5 --init-image picture.png --mask gray.png --soft-mask "
                 "--sampler " +
                     run.at("sampler").get<std::string>() + " --strength " +
                     run.at("strength").dump()));
    expect_latents(latents("x.safetensors"), run);
  }
}

TEST_F(PipelineRuns, SoftMasksKeepWhatIsBlack) {
  make_pipeline("sd1");
  make_picture_and_mask();
  const std::string run = "--init-image picture.png --sampler heun --mask mask.png --save-latents ";
  must(command("sd1", run + "hard.safetensors"));
  must(command("sd1", run + "soft.safetensors --soft-mask"));
  const auto right = [&](const std::string& file) { return latents(file).slice(3, 4); };
  EXPECT_TRUE(at::equal(right("hard.safetensors"), right("soft.safetensors")));
  expect_refused(command("sd1", "--init-image picture.png --soft-mask"),
                 "--soft-mask: got no --mask");
  make_pipeline("inpainting");
  expect_refused(command("inpainting", "--init-image picture.png --mask mask.png --soft-mask"),
                 "the model reads the mask itself");
}

TEST_F(PipelineRuns, AnInpaintingUNetWantsAMask) {
  make_pipeline("inpainting");
  make_picture_and_mask();
  expect_refused(command("inpainting", ""), "--mask: got none");
  expect_refused(command("inpainting", "--init-image picture.png"), "--mask: got none");
}

TEST_F(PipelineRuns, ARecipeMakesTheSameBytesAgain) {
  make_pipeline("sd1");
  const std::string two =
      "generate --quiet --model sd1 --prompt 'a (red:1.3) fox' --prompt snow "
      "--size 64x48 --steps 2 --guidance cfg:scale=3 --output ";
  const Result first = tiller(two + "both/");
  ASSERT_EQ(first.code, 0) << first.err;
  const Result again = tiller("generate --quiet --from both/00001.png --output again.png");
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(bytes("both/00001.png"), bytes("again.png"));
  EXPECT_EQ(read_image(folder / "again.png").sizes(), at::IntArrayRef({3, 48, 64}));
}

/// In two files with an index; the model's hash is of all three.
TEST_F(PipelineRuns, AShardedUNetDrawsTheSame) {
  make_pipeline("sd1");
  const std::string run = command("sd1", "--steps 2");
  const Tensor whole = latents_of(run);
  const NamedTensors tensors = tensors_of("sd1/unet");
  fs::remove(folder / "sd1/unet/model.safetensors");
  NamedTensors halves[2];
  Json map;
  for (size_t i = 0; i < tensors.size(); ++i) {
    halves[i % 2].push_back(tensors[i]);
    map[tensors[i].first] = i % 2 ? "b.safetensors" : "a.safetensors";
  }
  save_safetensors(folder / "sd1/unet/a.safetensors", halves[0]);
  save_safetensors(folder / "sd1/unet/b.safetensors", halves[1]);
  write("sd1/unet/diffusion_pytorch_model.safetensors.index.json",
        Json{{"weight_map", map}}.dump());
  EXPECT_TRUE(latents_of(run).equal(whole));
  const std::string again = "generate --quiet --from y.png --output z.png";
  EXPECT_EQ(tiller(again).code, 0);
  halves[1].back().second = halves[1].back().second + 1;
  save_safetensors(folder / "sd1/unet/b.safetensors", halves[1]);
  expect_refused(again, "hash");
  fs::remove(folder / "sd1/unet/b.safetensors");
  expect_refused(run, "got no b.safetensors");
}

TEST_F(PipelineRuns, AMissingPartIsNamed) {
  make_pipeline("sd1");
  fs::remove_all(folder / "sd1" / "text_encoder");
  const Result result = tiller(command("sd1", ""));
  EXPECT_EQ(result.code, 1);
  EXPECT_NE(result.err.find("text_encoder"), std::string::npos) << result.err;
  EXPECT_FALSE(fs::exists(folder / "y.png"));
}

TEST_F(PipelineRuns, SyntaxThatIsntReadIsNamed) {
  make_pipeline("sd1");
  const std::string
      run = "generate --model sd1 --size 64 --steps 1 --output a.png --prompt ",
      invert = "invert --model sd1 --image a.png --steps 1 --output i.safetensors --prompt ";
  const auto names = [&](const std::string& command, const std::string& part) {
    const std::string said = tiller(command + "'a " + part + "'").err;
    return said.find("'" + part + "' in a prompt is read") != std::string::npos;
  };
  for (const std::string part : {"<lora:fox:0.8>", " AND "}) EXPECT_TRUE(names(run, part)) << part;
  for (const std::string part : {"[red:blue:0.5]", "[red|blue]"}) {
    EXPECT_TRUE(names(invert, part)) << part;
    EXPECT_FALSE(names(run, part)) << part;
  }
  EXPECT_EQ(tiller(run + "'a [red] (fox:1.2) AND'").err.find("in a prompt"), std::string::npos);
}

TEST_F(PipelineRuns, AnImageToBeginWithAndAMask) {
  make_pipeline("sd1");
  const std::string text = "generate --quiet --model sd1 --prompt fox --steps 10 --seed 3 ";
  ASSERT_EQ(tiller(text + "--size 64 --output begin.png").code, 0);
  const auto changed = [&](const std::string& more) {
    const Result result = tiller(text + "--init-image begin.png --output end.png " + more);
    EXPECT_EQ(result.code, 0) << result.err;
    const Tensor begin = read_image(folder / "begin.png").to(at::kFloat);
    return (read_image(folder / "end.png").to(at::kFloat) - begin).abs();
  };
  const double little = changed("--strength 0.2").mean().item<double>();
  const double much = changed("--strength 0.9").mean().item<double>();
  EXPECT_LT(little, much);
  Tensor mask = at::zeros({3, 64, 64}, at::kByte);
  mask.narrow(2, 0, 32).fill_(255);
  write_png(folder / "mask.png", mask);
  const Result result = tiller(text +
                               "--init-image begin.png --mask mask.png --strength 0.9 "
                               "--save-latents m.safetensors --output end.png");
  ASSERT_EQ(result.code, 0) << result.err;
  ASSERT_EQ(tiller(text + "--init-image begin.png --strength 0.1 --sampler ddim --mask mask.png "
                          "--save-latents k.safetensors --output kept.png")
                .code,
            0);
  // Outside the mask both end in the init image's own latents.
  const Tensor m = latents("m.safetensors").narrow(3, 4, 4),
               k = latents("k.safetensors").narrow(3, 4, 4);
  EXPECT_LT(relative_error(m, k), 1e-4);
  Tensor small = at::zeros({3, 32, 32}, at::kByte);
  write_png(folder / "small.png", small);
  const Result refused = tiller(text + "--init-image begin.png --mask small.png --output no.png");
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("64x64"), std::string::npos) << refused.err;
}

}  // namespace
}  // namespace tiller::test
