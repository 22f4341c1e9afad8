#include "tests/tools/program.h"

namespace tiller::test {
namespace {

class Invert : public ProgramTest {
 protected:
  /// An image of the tiny model's size.
  void make_image(const std::string& name, int64_t size = 16) const {
    write_picture(name, size, size, 7);
  }
};

/// The command line that the README shows: latents and pixels come back, whatever guides.
TEST_F(Invert, ImagesComeBackBitForBit) {
  make_image("in.png");
  for (const std::string options :
       {"--sampler bdia --steps 10", "--sampler bdia:gamma=0.96 --steps 20 --guidance cfg:scale=3",
        "--sampler bdia:gamma=0.9375 --steps 7 --guidance 'cfg:scale=2 + tpg:scale=2'",
        "--sampler bdia --steps 6 --guidance asag:scale=1.5 --dtype bfloat16",
        "--sampler bdia-edm --steps 8 --guidance tpg:scale=2"}) {
    SCOPED_TRACE(options);
    must(
        "invert --quiet --model model --class bee --image in.png --output i.safetensors "
        "--save-latents z0.safetensors " +
        options);
    const Result again = must(
        "generate --inversion i.safetensors --save-latents z1.safetensors --output y.png --json");
    EXPECT_TRUE(Json::parse(again.out).at("exact").get<bool>());
    EXPECT_TRUE(at::equal(latents("z0.safetensors"), latents("z1.safetensors")));
    EXPECT_TRUE(at::equal(read_image(folder / "in.png"), read_image(folder / "y.png")));
  }
}

/// A pair in float64 gives 8-bit images back, and what the guided steps missed does to the bit.
TEST_F(Invert, EdictAndDirectInversionGiveTheImageToo) {
  make_image("in.png");
  for (const std::string sampler : {"edict", "direct"}) {
    SCOPED_TRACE(sampler);
    must("invert --quiet --model model --class bee --image in.png --steps 10 --sampler " + sampler +
         " --guidance cfg:scale=2 --output i.safetensors");
    const Json again =
        Json::parse(must("generate --json --inversion i.safetensors --output y.png").out);
    EXPECT_EQ(again.value("exact", false), sampler == "direct");
    EXPECT_TRUE(at::equal(read_image(folder / "in.png"), read_image(folder / "y.png")));
  }
}

TEST_F(Invert, MethodsOfPromptsNeedThem) {
  make_image("in.png");
  for (const std::string sampler : {"npi", "null-text"})
    expect_refused("invert --model model --class bee --image in.png --sampler " + sampler +
                       " --output i.safetensors",
                   "sampler " + sampler + ": model: got one that reads no text");
}

TEST_F(Invert, NoiseComesBackBitForBit) {
  for (const std::string gamma : {"1", "0.96"}) {
    must(
        "generate --quiet --model model --class ant --count 3 --batch 2 --steps 12 --sampler "
        "bdia:gamma=" +
        gamma + " --output many --save-inversion i.safetensors");
    must(
        "invert --quiet --inversion i.safetensors --output n.safetensors --save-latents "
        "noise.safetensors");
    must("generate --quiet --inversion n.safetensors --output again");
    for (const std::string name : {"00000.png", "00001.png", "00002.png"})
      EXPECT_TRUE(
          at::equal(read_image(folder / "many" / name), read_image(folder / "again" / name)));
    auto generator = at::detail::createCPUGenerator(1);
    const Tensor drawn = at::randn({3, 16, 16}, generator, at::kFloat);
    EXPECT_TRUE(at::equal(latents("noise.safetensors")[1], (drawn * 65536).round() / 65536));
  }
}

TEST_F(Invert, ReportsWhatTheWayBackGives) {
  make_image("in.png");
  const Result result = must(
      "invert --json --check --model model --class cat --image in.png --steps 5 --output "
      "i.safetensors");
  const Json json = Json::parse(result.out);
  EXPECT_TRUE(json.at("latent_error").at("exact").get<bool>());
  EXPECT_EQ(json.at("latent_error").at("largest"), 0);
  EXPECT_GT(json.at("noise").at("std"), 0.1);
}

TEST_F(Invert, RecipesRepeatTheImage) {
  make_image("in.png");
  must("invert --quiet --model model --class cat --image in.png --steps 5 --output i.safetensors");
  must("generate --quiet --inversion i.safetensors --output a.png");
  must("generate --quiet --from a.png --output b.png");
  EXPECT_EQ(bytes("a.png"), bytes("b.png"));
  must("generate --quiet --inversion i.safetensors --graphs off --output c.png");
}

TEST_F(Invert, AnImageOfABatchCanBeInvertedFromItsRecipe) {
  must("generate --quiet --model model --class cat --sampler bdia --steps 4 --count 2 --output b");
  must("generate --quiet --from b/00001.png --save-inversion i.safetensors --output a.png");
  const Result back = tiller("invert --json --inversion i.safetensors --output n.safetensors");
  ASSERT_EQ(back.code, 0) << back.err;
  EXPECT_EQ(Json::parse(back.out).at("exact"), true);
  // The file is at its image: there is no way back to judge.
  const Result drawn = tiller("generate --json --inversion i.safetensors --output c.png");
  ASSERT_EQ(drawn.code, 0) << drawn.err;
  EXPECT_FALSE(Json::parse(drawn.out).contains("exact"));
}

TEST_F(Invert, RefusesWhatDiffersFromTheFile) {
  make_image("in.png");
  must("invert --quiet --model model --class cat --image in.png --steps 5 --output i.safetensors");
  const std::string again = "generate --inversion i.safetensors --output y.png ";
  expect_refused(again + "--guidance cfg:scale=3", "got guidance");
  expect_refused(again + "--steps 6", "got steps 6, expected 5");
  expect_refused(again + "--sampler ddim", "got sampler");
  make_model("other", [] {
    Json config = tiny_config();
    config["num_heads"] = 4;
    return config;
  }());
  NamedTensors weights = tiny_weights(tiny_config());
  weights.front().second = weights.front().second + 1;
  save_safetensors(folder / "other" / "model.safetensors", weights);
  expect_refused(again + "--model other", "which the file was made with");
  Json config = tiny_config();
  config["noise_schedule"] = "cosine";
  write_file(folder / "model" / "config.json", config.dump());
  expect_refused(again, "another noise schedule");
  EXPECT_FALSE(fs::exists(folder / "y.png"));
}

TEST_F(Invert, RefusesBadInput) {
  make_image("in.png");
  make_image("large.png", 24);
  const std::string invert = "invert --model model --class cat --steps 4 ";
  expect_refused(invert, "--image: got none");
  expect_refused(invert + "--image large.png", "expected 16x16");
  expect_refused(invert + "--image in.png --sampler euler", "which has no inverse");
  expect_refused(invert + "--image in.png --sampler bdia:gamma=0.5", "gamma");
  expect_refused(invert + "--image in.png --guidance apg:scale=3", "remembers");
  expect_refused(invert + "--image in.png --output x.png", "expected a .safetensors file");
  must(invert + "--quiet --image large.png --size 16 --output i.safetensors");

  const std::string whole = bytes("i.safetensors");
  write_file(folder / "i.safetensors", whole.substr(0, whole.size() - 9));
  expect_refused("generate --inversion i.safetensors", "i.safetensors");
  expect_refused("generate --inversion model/model.safetensors",
                 "tensors without an inversion's recipe");
  TensorFile file = [&] {
    write_file(folder / "i.safetensors", whole);
    return load_safetensors(folder / "i.safetensors");
  }();
  file.tensors.front().second = at::full_like(file.tensors.front().second, NAN, at::kFloat);
  for (auto& [name, tensor] : file.tensors)
    if (name == "latents") tensor = at::full(tensor.sizes(), NAN, at::kFloat);
  save_safetensors(folder / "nan.safetensors", file.tensors, file.metadata);
  expect_refused("generate --inversion nan.safetensors", "aren't numbers");
}

/// A PNG of one grey pixel with alpha, and one of 16 bits a channel.
TEST_F(Invert, RefusesImagesThatEightBitsDoNotHold) {
  const auto unhex = [](const std::string& hex) {
    std::string out;
    for (size_t i = 0; i < hex.size(); i += 2)
      out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    return out;
  };
  const std::string head = "89504e470d0a1a0a0000000d49484452";
  write_file(
      folder / "alpha.png",
      unhex(head +
            "000000010000000108060000001f15c4890000000d49444154789c63105030680000018500e1e2c4"
            "23360000000049454e44ae426082"));
  write_file(
      folder / "wide.png",
      unhex(head +
            "00000001000000011002000000c0e78f9d0000000c49444154789c63103201410002b300d3fab702"
            "450000000049454e44ae426082"));
  const std::string invert = "invert --model model --class cat --size 16 --image ";
  expect_refused(invert + "alpha.png", "transparent");
  expect_refused(invert + "wide.png", "16 bits a channel");
}

}  // namespace
}  // namespace tiller::test
