#include <cstring>

#include "models/text_to_image.h"
#include "models/unet2d_condition.h"
#include "tests/models/formula.h"
#include "tests/tools/program.h"

namespace tiller::test {
namespace {

/// Tiny pipelines of formula weights, as tests/reference/make_pipelines.py makes them.
class Pipelines : public ProgramTest {
 protected:
  const Json& fixture() const {
    static const Json json = test::fixture("pipelines.json");
    return json;
  }

  void write(const std::string& name, const std::string& text) const {
    fs::create_directories((folder / name).parent_path());
    write_file(folder / name, text);
  }

  void save_part(const std::string& path, const Json& config, const NamedTensors& tensors) const {
    write(path + "/config.json", config.dump());
    fill_by_formula(tensors);
    save_safetensors(folder / path / "model.safetensors", tensors);
  }

  template <class Build>
  void make_part(const std::string& path, const Json& config, const Build& build) const {
    Weights weights(uint64_t{0});
    build(config, weights);
    NamedTensors tensors = weights.finish();
    if (path.ends_with("text_encoder"))  // where transformers has no prefix
      for (auto& [tensor_name, tensor] : tensors) tensor_name.erase(0, strlen("text_model."));
    save_part(path, config, tensors);
  }

  void make_tokenizer(const std::string& path, const std::string& pad) const {
    write(path + "/vocab.json", fixture().at("letters").dump());
    write(path + "/merges.txt", "#version: 0.2\n");
    write(path + "/tokenizer_config.json",
          Json({{"pad_token", pad}, {"model_max_length", 77}}).dump());
  }

  void make_pipeline(const std::string& family) const {
    const Json& entry = fixture().at(family);
    const Json& configs = entry.at("configs");
    Json index = {{"_class_name", entry.at("class")}};
    const auto text = [](const Json& c, Weights& w) { ClipText(c, w); };
    make_part(family + "/unet", configs.at("unet"),
              [](const Json& c, Weights& w) { unet2d_condition(c, w); });
    make_part(family + "/vae", configs.at("vae"),
              [](const Json& c, Weights& w) { AutoencoderKL(c, w); });
    make_part(family + "/text_encoder", configs.at("text_encoder"), text);
    make_tokenizer(family + "/tokenizer", family == "sd2" ? "!" : "<|endoftext|>");
    if (configs.contains("text_encoder_2")) {
      make_part(family + "/text_encoder_2", configs.at("text_encoder_2"), text);
      make_tokenizer(family + "/tokenizer_2", "!");
    }
    write(family + "/scheduler/scheduler_config.json", configs.at("scheduler").dump());
    for (const auto& [part, config] : configs.items()) index[part] = {"diffusers", "Part"};
    for (const std::string part : {"tokenizer", "tokenizer_2"})
      if (fs::exists(folder / family / part)) index[part] = {"transformers", "CLIPTokenizer"};
    write(family + "/model_index.json", index.dump());
  }

  std::string command(const std::string& family, const std::string& more) const {
    return "generate --quiet --model " + family + " --plain-prompt --prompt '" +
           fixture().at("prompt").get<std::string>() + "' --negative-prompt '" +
           fixture().at("negative").get<std::string>() +
           "' --seed 5 --steps 10 --size 64 --dtype float32 --device cpu --save-latents "
           "x.safetensors --output y.png " +
           more;
  }

  void expect_all_runs(const std::string& family) const {
    make_pipeline(family);
    for (const Json& run : fixture().at(family).at("runs")) {
      const std::string sampler = run.at("sampler");
      SCOPED_TRACE(sampler + " cfg " + run.at("cfg").dump());
      std::string more = "--sampler " + sampler;
      if (run.at("cfg") > 1) more += " --guidance cfg:scale=" + run.at("cfg").dump();
      const Result result = tiller(command(family, more));
      ASSERT_EQ(result.code, 0) << result.err;
      const Tensor got = latents("x.safetensors");
      const auto head = run.at("head").get<std::vector<double>>();
      const double largest = run.at("largest");
      const Tensor first = got.flatten().narrow(0, 0, int64_t(head.size())).to(at::kDouble);
      EXPECT_LT((first - at::tensor(head, at::kDouble)).abs().max().item<double>() / largest, 1e-4);
      EXPECT_NEAR(got.to(at::kDouble).sum().item<double>(), run.at("sum"), 1e-3 * largest);
    }
  }
};

TEST_F(Pipelines, Sd1LatentsEqualDiffusers) { expect_all_runs("sd1"); }
TEST_F(Pipelines, Sd2LatentsEqualDiffusers) { expect_all_runs("sd2"); }
TEST_F(Pipelines, SdxlLatentsEqualDiffusers) { expect_all_runs("sdxl"); }

TEST_F(Pipelines, ARecipeMakesTheSameBytesAgain) {
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

TEST_F(Pipelines, AMissingPartIsNamed) {
  make_pipeline("sd1");
  fs::remove_all(folder / "sd1" / "text_encoder");
  const Result result = tiller(command("sd1", ""));
  EXPECT_EQ(result.code, 1);
  EXPECT_NE(result.err.find("text_encoder"), std::string::npos) << result.err;
  EXPECT_FALSE(fs::exists(folder / "y.png"));
}

TEST_F(Pipelines, AnImageToBeginWithAndAMask) {
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
