#include "models/autoencoder_file.h"
#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

class Adapters : public Pipelines {
 protected:
  /// Writes a LoRA of the modules, in the style of PEFT, and the model with the same change added
  /// to its weights as `family`-merged.
  void make_lora(const std::string& family, const std::string& part, const std::string& module,
                 double weight, NamedTensors& factors) const {
    NamedTensors tensors = tensors_of(family + "/" + part);
    for (auto& [name, tensor] : tensors) {
      if (name != module + ".weight") continue;
      const std::string key = part + "." + module;
      const Tensor down = formula_weight(key + "a", {2, tensor.size(1)}),
                   up = formula_weight(key + "b", {tensor.size(0), 2});
      factors.emplace_back(key + ".lora_A.weight", down);
      factors.emplace_back(key + ".lora_B.weight", up);
      tensor += weight * up.mm(down);
    }
    save_safetensors(folder / (family + "-merged") / part / "model.safetensors", tensors);
  }

  void copy_pipeline(const std::string& family) const {
    fs::copy(folder / family, folder / (family + "-merged"), fs::copy_options::recursive);
  }

  void make_taesd() const {
    make_part("taesd", {{"_class_name", "AutoencoderTiny"}},
              [](const Json& c, Weights& w) { AutoencoderTiny(c, w); });
  }

  /// Row `token` of a text encoder's embedding.
  Tensor embedding(const std::string& part, const std::string& token) const {
    const int64_t id = fixture().at("letters").at(token);
    for (const auto& [name, tensor] : tensors_of(part))
      if (name.ends_with("token_embedding.weight")) return tensor[id].clone();
    throw std::runtime_error("no embedding");
  }
};

constexpr const char* attention = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q";
constexpr const char* text_layer = "encoder.layers.1.self_attn.q_proj";

TEST_F(Adapters, ALoraIsAddedToTheWeights) {
  make_pipeline("sd1");
  copy_pipeline("sd1");
  NamedTensors factors;
  make_lora("sd1", "unet", attention, 0.7, factors);
  make_lora("sd1", "text_encoder", text_layer, 0.7, factors);
  ASSERT_EQ(factors.size(), 4u);
  save_safetensors(folder / "fox.safetensors", factors);
  const Tensor plain = latents_of(command("sd1", ""));
  const Tensor merged = latents_of(command("sd1-merged", ""));
  const Tensor adapted = latents_of(command("sd1", "--lora fox.safetensors:0.7"));
  EXPECT_GT(relative_error(merged, plain), 1e-4);
  EXPECT_LT(relative_error(adapted, merged), 1e-6);
  const Tensor twice =
      latents_of(command("sd1", "--lora fox.safetensors:0.3 --lora fox.safetensors:0.4"));
  EXPECT_LT(relative_error(twice, merged), 1e-5);
  EXPECT_TRUE(latents_of(command("sd1", "--lora fox.safetensors:0")).equal(plain));
}

TEST_F(Adapters, ALoraOfBothEncodersOfSdxl) {
  make_pipeline("sdxl");
  copy_pipeline("sdxl");
  NamedTensors factors;
  make_lora("sdxl", "text_encoder", text_layer, 1, factors);
  make_lora("sdxl", "text_encoder_2", std::string("text_model.") + text_layer, 1, factors);
  ASSERT_EQ(factors.size(), 4u);
  save_safetensors(folder / "fox.safetensors", factors);
  const Tensor merged = latents_of(command("sdxl-merged", ""));
  EXPECT_LT(relative_error(latents_of(command("sdxl", "--lora fox.safetensors")), merged), 1e-6);
  make_pipeline("sd1");
  expect_refused(command("sd1", "--lora fox.safetensors"), "text_encoder_2");
}

TEST_F(Adapters, ALoraOfAnotherFamilyIsNamed) {
  make_pipeline("sd1");
  const std::string key = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k";
  save_safetensors(folder / "xl.safetensors", {{key + ".lora_A.weight", at::zeros({2, 2048})},
                                               {key + ".lora_B.weight", at::zeros({32, 2})}});
  expect_refused(command("sd1", "--lora xl.safetensors"), "this LoRA is SDXL, the model is");
  expect_refused(command("sd1", "--lora xl.safetensors:much"), "--lora");
  expect_refused(command("sd1", "--lora none.safetensors"), "none.safetensors");
  expect_refused("generate --model model --lora xl.safetensors", "--lora");
}

TEST_F(Adapters, ATextualInversionIsAWord) {
  make_pipeline("sd1");
  const Tensor q = embedding("sd1/text_encoder", "q</w>"),
               z = embedding("sd1/text_encoder", "z</w>");
  save_safetensors(folder / "my.safetensors", {{"<mine>", at::stack({q, z})}});
  const std::string start =
      "generate --quiet --model sd1 --seed 5 --steps 2 --size 64 --guidance cfg:scale=5 "
      "--save-latents x.safetensors --output y.png ";
  const std::string use = "--textual-inversion my.safetensors ";
  const Tensor expected = latents_of(start + "--prompt 'a q z fox' --negative-prompt 'no q z'");
  EXPECT_TRUE(latents_of(start + use + "--prompt 'a <mine> fox' --negative-prompt 'no <mine>'")
                  .equal(expected));
  EXPECT_FALSE(
      latents_of(start + "--prompt 'a <mine> fox' --negative-prompt 'no <mine>'").equal(expected));
  EXPECT_TRUE(latents_of(start + "--textual-inversion my.safetensors:word "
                                 "--prompt 'a word fox' --negative-prompt 'no word'")
                  .equal(expected));
}

TEST_F(Adapters, ATextualInversionOfBothEncodersOfSdxl) {
  make_pipeline("sdxl");
  save_safetensors(folder / "mine.safetensors",
                   {{"clip_l", embedding("sdxl/text_encoder", "q</w>").unsqueeze(0)},
                    {"clip_g", embedding("sdxl/text_encoder_2", "q</w>").unsqueeze(0)}});
  const std::string start =
      "generate --quiet --model sdxl --seed 5 --steps 2 --size 64 --save-latents x.safetensors "
      "--output y.png ";
  const Tensor expected = latents_of(start + "--prompt 'a q fox'");
  EXPECT_TRUE(latents_of(start + "--textual-inversion mine.safetensors --prompt 'a mine fox'")
                  .equal(expected));
}

TEST_F(Adapters, ATextualInversionOfAnotherFamilyIsNamed) {
  make_pipeline("sd1");
  save_safetensors(folder / "my.safetensors", {{"<mine>", at::ones({1, 768})}});
  expect_refused(command("sd1", "--textual-inversion my.safetensors"), "SD1's 768");
}

TEST_F(Adapters, AnotherVaeDecodes) {
  make_pipeline("sd1");
  make_pipeline("sdxl");
  const auto image = [&](const std::string& more) {
    const Tensor found = latents_of(command("sd1", more));
    return std::pair(found, bytes("y.png"));
  };
  const auto [plain, plain_png] = image("");
  const auto [other, other_png] = image("--vae sdxl/vae");
  EXPECT_TRUE(other.equal(plain));
  EXPECT_NE(other_png, plain_png);
  const Tensor by_folder = read_image(folder / "y.png");
  image("--vae sdxl");
  EXPECT_TRUE(read_image(folder / "y.png").equal(by_folder));
  image("--vae sdxl/vae/model.safetensors");
  EXPECT_TRUE(read_image(folder / "y.png").equal(by_folder));
  expect_refused(command("sd1", "--vae nothing"), "nothing");
  expect_refused(command("sd1", "--vae sd1/unet"), "sd1/unet");
  expect_refused(command("sd1", "--taesd sd1/vae"), "--taesd");
  expect_refused("generate --model model --vae sd1/vae", "--vae");
}

TEST_F(Adapters, TaesdDrawsNoNoiseToEncode) {
  make_pipeline("sd1");
  make_taesd();
  write_png(folder / "begin.png", at::full({3, 64, 64}, 90, at::kByte));
  write_png(folder / "mask.png", at::full({3, 64, 64}, 255, at::kByte));
  const std::string all = " --init-image begin.png --mask mask.png --strength 1";
  const Tensor plain = latents_of(command("sd1", ""));
  EXPECT_TRUE(latents_of(command("sd1", "--vae taesd" + all)).equal(plain));
  EXPECT_FALSE(latents_of(command("sd1", all)).equal(plain));
}

TEST_F(Adapters, TaesdDecodes) {
  make_pipeline("sd1");
  make_taesd();
  const Tensor found = latents_of(command("sd1", "--taesd taesd"));
  const Tensor image = read_image(folder / "y.png");
  Component component = autoencoder_component(folder / "taesd");
  Weights weights({component.tensors, {}}, "taesd");
  const AutoencoderTiny taesd(component.config, weights);
  EXPECT_TRUE(to_bytes(taesd.decode(found))[0].equal(image));
  fs::copy(folder / "taesd" / "model.safetensors", folder / "taesd.safetensors");
  latents_of(command("sd1", "--vae taesd.safetensors"));
  EXPECT_TRUE(read_image(folder / "y.png").equal(image));
}

TEST_F(Adapters, APredictionTypeOverridesTheModels) {
  make_pipeline("sd1");
  const Tensor epsilon = latents_of(command("sd1", ""));
  EXPECT_TRUE(latents_of(command("sd1", "--prediction-type epsilon")).equal(epsilon));
  const Tensor v = latents_of(command("sd1", "--prediction-type v_prediction"));
  EXPECT_FALSE(v.equal(epsilon));
  Json scheduler = fixture().at("sd1").at("configs").at("scheduler");
  scheduler["prediction_type"] = "v_prediction";
  write("sd1/scheduler/scheduler_config.json", scheduler.dump());
  EXPECT_TRUE(latents_of(command("sd1", "")).equal(v));
  expect_refused(command("sd1", "--prediction-type w"), "v_prediction");
}

TEST_F(Adapters, LowMemoryGivesTheSameLatents) {
  make_pipeline("sdxl");
  const Tensor plain = latents_of(command("sdxl", "--guidance cfg:scale=5"));
  EXPECT_TRUE(latents_of(command("sdxl", "--guidance cfg:scale=5 --low-memory")).equal(plain));
}

TEST_F(Adapters, Fp8IsCloseToThePlainModelAndKeptInTheRecipe) {
  make_pipeline("sd1");
  const std::string guided = "--guidance cfg:scale=3 ";
  const Tensor plain = latents_of(command("sd1", guided));
  const Tensor fp8 = latents_of(command("sd1", guided + "--fp8"));
  const double error = (fp8 - plain).norm().item<double>() / plain.norm().item<double>();
  EXPECT_GT(error, 1e-5);
  EXPECT_LT(error, 0.1);
  const std::string image = bytes("y.png");
  ASSERT_EQ(tiller("generate --quiet --from y.png --output again.png").code, 0);
  EXPECT_EQ(bytes("again.png"), image);
}

TEST_F(Adapters, NumbersThatAreNoneNameTheirPart) {
  make_pipeline("sd1");
  for (const auto& [part, name] : std::map<std::string, std::string>{
           {"unet", "unet"}, {"vae", "VAE"}, {"text_encoder", "text encoder"}}) {
    NamedTensors tensors = tensors_of("sd1/" + part), broken = tensors;
    broken.back().second = at::full_like(broken.back().second, NAN);
    save_safetensors(folder / "sd1" / part / "model.safetensors", broken);
    const Result result = tiller(command("sd1", "--guidance cfg:scale=2"));
    EXPECT_EQ(result.code, 1);
    EXPECT_TRUE(result.err.starts_with("tiller: " + name)) << result.err;
    save_safetensors(folder / "sd1" / part / "model.safetensors", tensors);
  }
}

TEST_F(Adapters, APromptIsUtf8) {
  make_pipeline("sd1");
  expect_refused("generate --model sd1 --prompt \"$(printf 'fox \\377')\"", "UTF-8");
}

TEST_F(Adapters, TooLargeAnImageNamesWhatToLower) {
  make_pipeline("sd1");
  expect_refused(command("sd1", "--size 32768"), "--vae-tiling");
  expect_refused(command("sd1", "--size 60"), "multiple of 8");
}

}  // namespace
}  // namespace tiller::test
