#include "tests/tools/program.h"

namespace tiller::test {
namespace {

class Generate : public ProgramTest {};

/// In units of the largest value: networks with random weights leave values far above 1.
double largest_difference(const Tensor& a, const Tensor& b) {
  return (a - b).abs().max().item<double>() / b.abs().max().item<double>();
}

TEST_F(Generate, SameCommandSameBytes) {
  generate("--class bee --seed 4 --guidance 'cfg:scale=2 + tpg:scale=2' --output a.png");
  generate("--class bee --seed 4 --guidance 'cfg:scale=2 + tpg:scale=2' --output b.png");
  generate("--class bee --seed 5 --guidance 'cfg:scale=2 + tpg:scale=2' --output c.png");
  EXPECT_EQ(bytes("a.png"), bytes("b.png"));
  EXPECT_NE(bytes("a.png"), bytes("c.png"));
}

TEST_F(Generate, SaysWhenTheFirstImageWasThere) {
  const Result result = tiller("generate --json --count 3 --batch 1 --output many");
  const Json seconds = Json::parse(result.out).at("seconds");
  EXPECT_GT(seconds.at("first_image"), seconds.at("load"));
  EXPECT_LT(seconds.at("first_image").get<double>(), 600);
}

TEST_F(Generate, AnImageDependsOnItsSeedAndClassAlone) {
  const std::string guided = "--guidance tpg:scale=2 --sampler euler-a ";
  generate(guided + "--seed 7 --count 5 --batch 3 --save-latents many.safetensors --output many");
  generate(guided + "--seed 10 --class ant --save-latents one.safetensors --output one.png");
  const Tensor many = latents("many.safetensors"), one = latents("one.safetensors");
  ASSERT_EQ(many.sizes(), at::IntArrayRef({5, 3, 16, 16}));
  ASSERT_EQ(one.sizes(), at::IntArrayRef({1, 3, 16, 16}));
  EXPECT_LT(largest_difference(many[3], one[0]), 1e-4);  // image 3: seed 10, class 0 again
  EXPECT_GT(largest_difference(many[2], one[0]), 1e-2);
}

TEST_F(Generate, FromRepeatsTheBytes) {
  generate("--count 5 --batch 3 --sampler euler-a --guidance cfg:scale=3 --output many");
  for (const std::string name : {"00001.png", "00004.png"}) {
    const Result result = tiller("generate --quiet --from many/" + name + " --output again.png");
    ASSERT_EQ(result.code, 0) << result.err;
    EXPECT_EQ(bytes("many/" + name), bytes("again.png"));
  }
  generate("--count 4 --grid 2 --output grid.png");
  ASSERT_EQ(tiller("generate --quiet --from grid.png --output again.png").code, 0);
  EXPECT_EQ(bytes("grid.png"), bytes("again.png"));
}

TEST_F(Generate, NvidiasRandomNumbersAreKeptInTheRecipe) {
  generate("--seed 3 --save-latents cpu.safetensors --output cpu.png");
  generate("--seed 3 --rng nv --save-latents nv.safetensors --output nv.png");
  EXPECT_GT(largest_difference(latents("cpu.safetensors"), latents("nv.safetensors")), 1e-2);
  EXPECT_NE(read_png_text(folder / "nv.png").at("parameters").find("RNG: NV"), std::string::npos);
  ASSERT_EQ(tiller("generate --quiet --from nv.png --output again.png").code, 0);
  EXPECT_EQ(bytes("nv.png"), bytes("again.png"));
  EXPECT_EQ(tiller("generate --rng gpu --output x.png").code, 2);
}

TEST_F(Generate, FlagsOverrideARecipe) {
  generate("--class bee --seed 3 --guidance cfg:scale=3 --output a.png");
  generate("--class bee --seed 8 --guidance cfg:scale=3 --output b.png");
  ASSERT_EQ(tiller("generate --quiet --from a.png --seed 8 --output c.png").code, 0);
  EXPECT_EQ(bytes("b.png"), bytes("c.png"));
}

TEST_F(Generate, RefusesARecipeOfAnotherModel) {
  generate("--output a.png");
  Json config = tiny_config();
  config["num_heads"] = 4;
  NamedTensors other = tiny_weights(tiny_config());
  other.front().second = other.front().second + 1;
  save_safetensors(folder / "model" / "model.safetensors", other);
  const Result result = tiller("generate --from a.png --output b.png");
  EXPECT_EQ(result.code, 1);
  EXPECT_NE(result.err.find("which the image was made with"), std::string::npos) << result.err;
  EXPECT_FALSE(fs::exists(folder / "b.png"));
}

TEST_F(Generate, PngTellsHowItWasMade) {
  generate("--class cat --seed 9 --guidance cfg:scale=2.5 --output a.png");
  const PngText text = read_png_text(folder / "a.png");
  const std::string parameters = text.at("parameters");
  EXPECT_TRUE(parameters.starts_with("cat\nSteps: 3, Sampler: ddim, CFG scale: 2.5, Seed: 9, "))
      << parameters;
  EXPECT_NE(parameters.find("Size: 16x16, Model hash: "), std::string::npos) << parameters;
  const Json recipe = Json::parse(text.at("tiller"));
  EXPECT_EQ(recipe.at("request").at("seed"), 9);
  EXPECT_EQ(recipe.at("class"), "cat");
}

TEST_F(Generate, LatentsAreTheImage) {
  generate("--seed 2 --save-latents x.safetensors --output a.png");
  const Tensor pixels = ((latents("x.safetensors")[0] + 1) * 127.5).clamp(0, 255).round();
  EXPECT_LE((read_image(folder / "a.png").to(at::kFloat) - pixels).abs().max().item<float>(), 1);
}

TEST_F(Generate, JsonReportsWhatWasDone) {
  const Json json = Json::parse(
      generate("--json --class ant,cat --seed 3 --guidance tpg:layers=mid --output out").out);
  EXPECT_EQ(json.at("files"), Json({"out/00000.png", "out/00001.png"}));
  EXPECT_EQ(json.at("images").at(1).at("seed"), 4);
  EXPECT_EQ(json.at("images").at(1).at("class_name"), "cat");
  EXPECT_EQ(json.at("sampler").at("steps"), 3);
  EXPECT_EQ(json.at("guidance").at(0).at("sites"), Json({"middle_block.1"}));
  EXPECT_EQ(json.at("evaluations"), 3);
  EXPECT_LT(json.at("flops").get<double>(), json.at("flops_unshared").get<double>());
  const Json alone = Json::parse(
      generate("--json --share off --class ant --guidance tpg:layers=mid --output b.png").out);
  EXPECT_EQ(alone.at("flops"), alone.at("flops_unshared"));
}

TEST_F(Generate, JsonHoldsAnyFilesName) {
  const std::string out = generate("--json --output 'bad\xff.png'").out;
  EXPECT_EQ(Json::parse(out).at("files"), Json({"bad\uFFFD.png"}));
  generate("--output begin.png");
  fs::copy_file(folder / "begin.png", folder / "c\xff.png");
  generate("--init-image 'c\xff.png' --output from.png");
  EXPECT_TRUE(fs::exists(folder / "from.png"));
}

TEST_F(Generate, SaysWhichFlagIsWrong) {
  const std::string run = "generate --model model --class ant ";
  expect_refused(run + "--crop 5", "--crop: got '5', expected top and left");
  expect_refused(run + "--skip-existing --output x.png", "--skip-existing: got the file x.png");
  expect_refused("generate --model ''", "--model: got ''");
  const Result both = tiller(run + "--steps 3 --respacing ddim10 --output a.png");
  EXPECT_NE(both.err.find("nothing changes by --steps"), std::string::npos) << both.err;
}

TEST_F(Generate, SkipsWhatIsThere) {
  generate("--count 3 --output out");
  const std::string second = bytes("out/00001.png");
  fs::remove(folder / "out" / "00001.png");
  write_file(folder / "out" / "00002.png", "kept");
  const Json json =
      Json::parse(generate("--json --skip-existing --count 3 --batch 3 --output out").out);
  EXPECT_EQ(json.at("skipped"), 2);
  EXPECT_EQ(bytes("out/00002.png"), "kept");
  EXPECT_EQ(read_image(folder / "out/00001.png").sizes(), at::IntArrayRef({3, 16, 16}));
}

TEST_F(Generate, TellsWhereWhatItSkipsHasOtherSettings) {
  const std::string run = "generate --model model --steps 2 --class ant --output out/ ";
  const auto says = [&](const std::string& more) {
    return tiller(run + "--skip-existing " + more).err.find("was made with other settings");
  };
  ASSERT_EQ(tiller(run).code, 0);
  EXPECT_EQ(says(""), std::string::npos);
  EXPECT_NE(says("--seed 4"), std::string::npos);
  EXPECT_EQ(says("--seed 4 --quiet"), std::string::npos);
}

TEST_F(Generate, TellsOfFlagsThatTheModelDoesntRead) {
  const std::string run = "generate --model model --steps 1 --class ant --output a.png ";
  const Result result = tiller(run + "--crop 0,1 --embedded-guidance 3");
  EXPECT_EQ(result.code, 0) << result.err;
  const std::string note = "The model doesn't read --crop and --embedded-guidance";
  EXPECT_NE(result.err.find(note), std::string::npos) << result.err;
  EXPECT_EQ(tiller(run).err.find("doesn't read"), std::string::npos);
}

TEST_F(Generate, ComparesGuidances) {
  generate(
      "--class ant,bee --compare none --compare cfg:scale=2 --compare 'cfg + seg' "
      "--save-latents x.safetensors --output grid.png");
  const Tensor samples = latents("x.safetensors");
  ASSERT_EQ(samples.size(0), 6);
  EXPECT_GT(largest_difference(samples[0], samples[2]), 1e-3);
  generate("--class bee --seed 1 --guidance cfg:scale=2 --save-latents one.safetensors");
  EXPECT_LT(largest_difference(samples[3], latents("one.safetensors")[0]), 1e-4);
  const Tensor grid = read_image(folder / "grid.png");
  EXPECT_GE(grid.size(1), 3 * 16);
  EXPECT_GE(grid.size(2), 2 * 16);
}

TEST_F(Generate, EverySamplerRuns) {
  const Json list = Json::parse(tiller("list --json").out);
  ASSERT_GE(list.at("samplers").size(), 6u);
  for (const Json& sampler : list.at("samplers")) {
    const std::string name = sampler.at("name");
    generate("--sampler '" + name + "' --output '" + name + ".png'");
  }
}

TEST_F(Generate, EveryGuidanceRuns) {
  const Json list = Json::parse(tiller("list --json").out);
  ASSERT_GE(list.at("guidances").size(), 5u);
  for (const Json& guidance : list.at("guidances")) {
    std::string name = guidance.at("name");
    if (name == "perp-neg" || name == "nag" || name == "pladis") continue;  // they read text
    if (name == "autoguidance") name += ":model=model";
    generate("--guidance '" + name + "' --output '" + name + ".png'");
  }
}

/// guided-diffusion's FIXED_LARGE, or FIXED_SMALL where its sigma_small says so.
TEST_F(Generate, DdpmsVarianceIsGuidedDiffusions) {
  Json config = tiny_config();
  config["learn_sigma"] = false;
  const auto latents = [&](const std::string& sampler) {
    generate("--class ant --sampler " + sampler + " --save-latents z.safetensors --output a.png");
    return load_safetensors(folder / "z.safetensors").tensors[0].second;
  };
  for (const bool small : {false, true}) {
    config["sigma_small"] = small;
    make_model("model", config);
    const Tensor usual = latents("ddpm"), fixed_small = latents("ddpm:variance=fixed_small");
    EXPECT_EQ(usual.equal(fixed_small), small);
    EXPECT_EQ(usual.equal(latents("ddpm:variance=fixed_large")), !small);
  }
}

TEST_F(Generate, UnconditionalModelsNeedNoLabel) {
  Json config = tiny_config();
  for (const char* key : {"class_cond", "null_label", "num_classes", "class_names"})
    config.erase(key);
  make_model("plain", config);
  const std::string command = "generate --quiet --model plain --steps 2 --output a.png ";
  for (const char* guidance : {"tpg", "asag", "pag", "seg"})
    EXPECT_EQ(tiller(command + "--guidance " + guidance).code, 0) << guidance;
  fs::remove(folder / "a.png");
  const Result refused = tiller(command + "--guidance cfg");
  EXPECT_EQ(refused.code, 2);
  EXPECT_NE(refused.err.find("unconditional branch"), std::string::npos) << refused.err;
  EXPECT_EQ(tiller(command + "--class 1").code, 2);
  EXPECT_FALSE(fs::exists(folder / "a.png"));
}

}  // namespace
}  // namespace tiller::test
