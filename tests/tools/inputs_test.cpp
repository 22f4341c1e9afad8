#include "tests/tools/pipelines.h"
#include "tools/request.h"

namespace tiller::test {
namespace {

/// Recipes name the files that they need, and previews are no part of them.
class Inputs : public Pipelines {
 protected:
  void make_lora(double value) const {
    const std::string key = "unet.mid_block.attentions.0.proj_in";
    save_safetensors(folder / "fox.safetensors",
                     {{key + ".lora_A.weight", at::full({1, 64, 1, 1}, value)},
                      {key + ".lora_B.weight", at::full({64, 1, 1, 1}, value)}});
  }

  /// Equal but for rounding.
  void expect_near(const Tensor& a, const Tensor& b) const {
    EXPECT_LE((a.to(at::kFloat) - b.to(at::kFloat)).abs().max().item<float>(), 1);
  }

  std::string begin(const std::string& more) const {
    return "generate --quiet --model sd1 --prompt fox --steps 2 --size 64 " + more;
  }
};

TEST_F(Inputs, ARecipeKnowsItsAdapters) {
  make_pipeline("sd1");
  make_lora(0.1);
  ASSERT_EQ(tiller(begin("--lora fox.safetensors:0.5 --output a.png")).code, 0);
  const Result again = tiller("generate --quiet --from a.png --output b.png");
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(bytes("a.png"), bytes("b.png"));
  make_lora(0.2);
  expect_refused("generate --from a.png --output b.png", "got another fox.safetensors");
  fs::remove(folder / "fox.safetensors");
  expect_refused("generate --from a.png --output b.png", "fox.safetensors");
}

TEST_F(Inputs, AnOlderRecipeNamesOneIpAdapter) {
  Json recipe = to_json(GenerateRequest{});
  recipe.erase("ip_adapters");
  recipe["ip_adapter"] = "";
  EXPECT_TRUE(request_from(recipe, "old.png").control.adapters.empty());
  recipe["ip_adapter"] = "ip.safetensors";
  EXPECT_EQ(request_from(recipe, "old.png").control.adapters,
            std::vector<std::string>{"ip.safetensors"});
}

TEST_F(Inputs, ARecipeKnowsItsImages) {
  make_pipeline("sd1");
  write_png(folder / "init.png", at::full({3, 64, 64}, 90, at::kByte));
  ASSERT_EQ(tiller(begin("--init-image init.png --output a.png")).code, 0);
  const Result again = tiller("generate --quiet --from a.png --output b.png");
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(bytes("a.png"), bytes("b.png"));
  write_png(folder / "init.png", at::full({3, 64, 64}, 91, at::kByte));
  expect_refused("generate --from a.png --output b.png", "got another init.png");
}

TEST_F(Inputs, ARecipeKnowsItsVae) {
  make_pipeline("sd1");
  make_pipeline("sdxl");
  ASSERT_EQ(tiller(begin("--vae sdxl --output a.png")).code, 0);
  ASSERT_EQ(tiller("generate --quiet --from a.png --output b.png").code, 0);
  fs::copy_file(folder / "sd1/vae/model.safetensors", folder / "sdxl/vae/model.safetensors",
                fs::copy_options::overwrite_existing);
  write("sdxl/vae/config.json", bytes("sd1/vae/config.json"));
  expect_refused("generate --from a.png --output b.png", "got another sdxl");
}

TEST_F(Inputs, APreviewShowsTheEstimate) {
  make_pipeline("sd1");
  make_part("taesd", {{"_class_name", "AutoencoderTiny"}},
            [](const Json& c, Weights& w) { AutoencoderTiny(c, w); });
  // The last step's estimate is what the run ends in, so that the last preview is known.
  ASSERT_EQ(tiller(begin("--sampler euler --taesd taesd --preview p.png --output a.png")).code, 0);
  expect_near(read_image(folder / "p.png"), read_image(folder / "a.png"));
  ASSERT_EQ(tiller(begin("--sampler euler --count 2 --batch 2 --preview p.png --output a/")).code,
            0);
  EXPECT_GT(read_image(folder / "p.png").size(2), 64);
  ASSERT_EQ(tiller(begin("--sampler euler --preview q.png --save-latents x.safetensors "
                         "--output a.png"))
                .code,
            0);
  const Tensor rgb = latent_rgb(latents("x.safetensors"), LatentFamily::sd);
  const Tensor large = at::upsample_nearest2d(to_bytes(rgb).to(at::kFloat), {64, 64})[0];
  expect_near(large, read_image(folder / "q.png"));
  expect_refused(begin("--preview p.jpg"), "--preview");
}

TEST_F(Inputs, APreviewOfAModelOfPixels) {
  generate("--class ant --sampler euler --preview p.png --output a.png");
  expect_near(read_image(folder / "p.png"), read_image(folder / "a.png"));
}

TEST_F(Inputs, NoGuidanceIsHintedAt) {
  make_pipeline("sd1");
  const std::string run = "generate --model sd1 --prompt fox --steps 1 --size 64 --output a.png ";
  EXPECT_NE(tiller(run).err.find("--guidance cfg:scale=7.5"), std::string::npos);
  for (const char* quiet : {"--quiet", "--json", "--guidance cfg:scale=2"})
    EXPECT_EQ(tiller(run + quiet).err.find("cfg:scale=7.5"), std::string::npos) << quiet;
}

TEST_F(Inputs, InfoOnAdapters) {
  make_lora(0.1);
  Json json = Json::parse(tiller("info fox.safetensors --json").out);
  EXPECT_EQ(json.at("kind"), "lora");
  EXPECT_EQ(json.at("rank"), Json({1, 1}));
  EXPECT_EQ(json.at("parts").at("unet").at("modules"), 1);
  save_safetensors(folder / "my.safetensors", {{"<mine>", at::ones({2, 768})}});
  json = Json::parse(tiller("info my.safetensors --json").out);
  EXPECT_EQ(json.at("kind"), "textual_inversion");
  EXPECT_EQ(json.at("token"), "<mine>");
  EXPECT_EQ(json.at("vectors"), 2);
  EXPECT_EQ(json.at("family"), "SD1.5");
  EXPECT_NE(tiller("info my.safetensors").out.find("<mine>"), std::string::npos);
  EXPECT_NE(tiller("info fox.safetensors").out.find("unet"), std::string::npos);
}

}  // namespace
}  // namespace tiller::test
