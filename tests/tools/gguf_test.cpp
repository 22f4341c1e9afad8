#include "tests/gguf_file.h"
#include "tests/tools/ldm_pipeline.h"

namespace tiller::test {
namespace {

class GgufFiles : public SingleFiles {
 protected:
  /// FAMILY.gguf, and the numbers that its blocks stand for as FAMILY.safetensors.
  void make_files(const std::string& family) const {
    make_pipeline(family);
    store(family, ldm_tensors(family));
  }

  void store(const std::string& name, const NamedTensors& tensors) const {
    save_gguf(folder / (name + ".gguf"), tensors);
    save_safetensors(folder / (name + ".safetensors"),
                     load_tensors(folder / (name + ".gguf")).tensors);
  }

  /// The tensors under a prefix, without it.
  NamedTensors under(const std::string& prefix, const std::string& family) const {
    NamedTensors part;
    for (const auto& [name, tensor] : ldm_tensors(family))
      if (name.starts_with(prefix)) part.emplace_back(name.substr(prefix.size()), tensor);
    return part;
  }

  void expect_same(const std::string& one, const std::string& other) const {
    const Tensor expected = latents_of(other);
    EXPECT_TRUE(latents_of(one).equal(expected)) << one;
  }

  const std::string guided = "--steps 3 --guidance cfg:scale=5";
};

TEST_F(GgufFiles, GiveTheLatentsOfTheirNumbers) {
  for (const std::string family : {"sd1", "sd2", "sdxl"}) {
    SCOPED_TRACE(family);
    make_files(family);
    const std::string how = guided + " --config " + family;
    const Tensor plain = latents_of(command(family, guided));
    for (const std::string more : {"", " --dtype bfloat16", " --low-memory", " --fp8"})
      expect_same(command(family + ".gguf", how + more),
                  command(family + ".safetensors", how + more));
    const double error = relative_error(latents_of(command(family + ".gguf", how)), plain);
    EXPECT_GT(error, 1e-4) << "nothing was quantized";
    EXPECT_LT(error, 0.2);
  }
}

TEST_F(GgufFiles, OfAUNetTakeItsPlace) {
  make_files("sd1");
  store("unet", under("model.diffusion_model.", "sd1"));
  const std::string how = guided + " --model sd1 --unet ";
  expect_same(command("sd1", how + "unet.gguf"), command("sd1", how + "unet.safetensors"));
  expect_same(command("sd1", how + "sd1"), command("sd1", guided));
  expect_same(command("sd1", how + "sd1/unet"), command("sd1", guided));
  const std::string single = guided + " --model sd1.safetensors --config sd1 --unet unet.gguf";
  expect_same(command("", single), command("sd1.gguf", guided + " --config sd1"));
  expect_refused(command("unet.gguf", ""), "--unet takes it with a model");
  expect_refused(command("sd1", "--unet missing.gguf"), "nothing there");
  expect_refused("generate --class ant --unet unet.gguf", "--unet");
  store("vae", under("first_stage_model.", "sd1"));
  expect_refused(command("sd1", "--unet vae.gguf"), "a file without a UNet");
  make_files("sdxl");
  expect_refused(command("sd1", "--unet sdxl.gguf"), "text of width");
}

TEST_F(GgufFiles, OfAVaeToo) {
  make_files("sd1");
  store("vae", under("first_stage_model.", "sd1"));
  const auto image = [&](const std::string& vae) {
    EXPECT_EQ(tiller(command("sd1", "--steps 2 --vae " + vae)).code, 0);
    return read_image(folder / "y.png");
  };
  const Tensor expected = image("vae.safetensors");
  EXPECT_TRUE(image("vae.gguf").equal(expected));
}

TEST_F(GgufFiles, AreKnownToRecipes) {
  make_files("sd1");
  store("unet", under("model.diffusion_model.", "sd1"));
  const std::string how = guided + " --config sd1";
  ASSERT_EQ(tiller(command("sd1.gguf", how)).code, 0);
  fs::rename(folder / "y.png", folder / "a.png");
  const std::string again = "generate --quiet --from a.png --output y.png";
  ASSERT_EQ(tiller(again).code, 0);
  EXPECT_EQ(bytes("y.png"), bytes("a.png"));
  ASSERT_EQ(tiller(command("sd1.gguf", how + " --unet unet.gguf")).code, 0);
  fs::rename(folder / "y.png", folder / "a.png");
  ASSERT_EQ(tiller(again).code, 0);
  EXPECT_EQ(bytes("y.png"), bytes("a.png"));
  const std::string unet = bytes("unet.gguf"), whole = bytes("sd1.gguf");
  for (const auto& [name, good] : {std::pair("unet.gguf", unet), std::pair("sd1.gguf", whole)}) {
    std::string other = good;
    other.back() = char(other.back() ^ 1);
    write(name, other);
    expect_refused(again, name);
    write(name, good);
  }
}

TEST_F(GgufFiles, AreDescribed) {
  make_files("sd1");
  const Json json = Json::parse(tiller("info sd1.gguf --config sd1 --json").out);
  EXPECT_EQ(json.at("kind"), "text_to_image");
  EXPECT_GT(json.at("dtypes").at("Q8_0"), 0);
  EXPECT_EQ(json.at("parameters"), Json::parse(tiller("info sd1 --json").out).at("parameters"));
  const std::string text = tiller("info sd1.gguf --config sd1").out;
  EXPECT_NE(text.find("Q8_0"), text.npos);
  store("vae", under("first_stage_model.", "sd1"));
  const std::string list = tiller("info vae.gguf").out;
  EXPECT_NE(list.find("encoder.mid.attn_1.q.weight"), list.npos);
  const std::string types = std::string(TILLER_FIXTURES) + "/tensor_files/types.gguf";
  const Json tensors = Json::parse(tiller("info " + types + " --json").out);
  std::set<std::string> kinds;
  for (const Json& tensor : tensors.at("list")) kinds.insert(tensor.at("dtype"));
  for (const char* kind : {"Q8_0", "Q4_K", "IQ4_XS", "float16"}) EXPECT_TRUE(kinds.contains(kind));
  EXPECT_EQ(tensors.at("metadata").at("general.architecture"), "sd1");
}

}  // namespace
}  // namespace tiller::test
