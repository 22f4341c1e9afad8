#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

/// Maps of words on the tiny pipelines, also against tests/reference/make_word_maps.py.
class WordMaps : public Pipelines {
 protected:
  static Tensor tensor_in(const Json& values) {
    return at::tensor(values.get<std::vector<double>>(), at::kDouble);
  }

  Tensor map_of(const std::string& file, const std::string& name) const {
    for (const auto& [tensor_name, tensor] : load_safetensors(folder / file).tensors)
      if (tensor_name == name) return tensor.clone();
    ADD_FAILURE() << file << " has no " << name;
    return at::zeros({1});
  }

  void expect_usage_error(const std::string& arguments, const std::string& expected) const {
    const Result result = tiller(arguments);
    EXPECT_EQ(result.code, 2) << arguments;
    EXPECT_NE(result.err.find(expected), std::string::npos) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  }

  void expect_reference(const std::string& family) const {
    make_pipeline(family);
    const Json entry = test::fixture("word_maps.json").at(family);
    const std::string size = entry.at("width").dump() + "x" + entry.at("height").dump();
    must(command(family,
                 "--sampler ddim --guidance cfg:scale=5 --attention-map fox "
                 "--attention-effect fox --save-maps m.safetensors --size " +
                     size));
    const Tensor attention = map_of("m.safetensors", "fox");
    const int64_t height = entry.at("height"), width = entry.at("width");
    EXPECT_EQ(attention.sizes(), at::IntArrayRef({1, height / 8, width / 8}));
    EXPECT_LT(relative_error(attention.flatten(), tensor_in(entry.at("attention"))), 1e-4);
    // A difference of predictions a hundred times as large.
    EXPECT_LT(relative_error(map_of("m.safetensors", "fox-effect").flatten(),
                             tensor_in(entry.at("effect"))),
              1e-3);
  }

  static constexpr const char* kFox =
      "generate --quiet --model sd1 --prompt 'a red fox' --steps 3 ";
};

TEST_F(WordMaps, EqualTheReferenceOnSd1) { expect_reference("sd1"); }
TEST_F(WordMaps, EqualTheReferenceOnSd2) { expect_reference("sd2"); }
TEST_F(WordMaps, EqualTheReferenceOnSdxl) { expect_reference("sdxl"); }

TEST_F(WordMaps, LeaveTheImageAsItIs) {
  make_pipeline("sd1");
  const std::string run = std::string(kFox) + "--size 64 --guidance cfg:scale=3 ";
  must(run + "--output plain.png");
  must(run + "--attention-map 'red fox,a' --output y.png");
  EXPECT_EQ(bytes("plain.png"), bytes("y.png"));
  EXPECT_EQ(read_image(folder / "y-red-fox.png").sizes(), at::IntArrayRef({3, 256, 256}));
  EXPECT_TRUE(fs::exists(folder / "y-a.png"));
  // What is measured besides costs rounding at most, and a recipe repeats it.
  must(run + "--attention-effect fox --output e.png --save-latents e.safetensors");
  must(run + "--output p.png --save-latents p.safetensors");
  EXPECT_LT(relative_error(latents("e.safetensors"), latents("p.safetensors")), 1e-4);
  must("generate --quiet --from e.png --attention-map fox --output again.png");
  EXPECT_EQ(bytes("e.png"), bytes("again.png"));
  EXPECT_EQ(bytes("e-fox-effect.png"), bytes("again-fox-effect.png"));
  EXPECT_TRUE(fs::exists(folder / "again-fox.png"));
}

TEST_F(WordMaps, OfEachImageAreItsOwn) {
  make_pipeline("sd1");
  const std::string run =
      "generate --json --model sd1 --steps 3 --size 64x48 --attention-map fox "
      "--attention-effect fox --save-maps ";
  const Json both = Json::parse(
      must(run + "both.safetensors --prompt 'a fox' --prompt 'the snow' --prompt 'red foxes, "
                 "one fox and a fox' --seed 4 --output both/")
          .out);
  const Tensor maps = map_of("both.safetensors", "fox"),
               effects = map_of("both.safetensors", "fox-effect");
  ASSERT_EQ(maps.sizes(), at::IntArrayRef({3, 6, 8}));
  must(run + "one.safetensors --prompt 'a fox' --seed 4 --output one.png");
  must(run + "two.safetensors --prompt 'red foxes, one fox and a fox' --seed 6 --output two.png");
  EXPECT_LT(relative_error(maps[0], map_of("one.safetensors", "fox")), 1e-4);
  EXPECT_LT(relative_error(maps[2], map_of("two.safetensors", "fox")), 1e-4);
  EXPECT_LT(relative_error(effects[0], map_of("one.safetensors", "fox-effect")), 1e-3);
  EXPECT_LT(relative_error(effects[2], map_of("two.safetensors", "fox-effect")), 1e-3);
  EXPECT_EQ(maps[1].abs().max().item<double>() + effects[1].abs().max().item<double>(), 0);
  EXPECT_TRUE(fs::exists(folder / "both" / "00000-fox.png"));
  EXPECT_FALSE(fs::exists(folder / "both" / "00001-fox.png"));
  EXPECT_TRUE(fs::exists(folder / "both" / "00002-fox-effect.png"));
  const Json& image = both.at("images")[0];
  EXPECT_EQ(image.at("attention_map").at("fox").at("file"), "both/00000-fox.png");
  EXPECT_FLOAT_EQ(image.at("attention_map").at("fox").at("max").get<float>(),
                  maps[0].max().item<float>());
  EXPECT_FALSE(both.at("images")[1].contains("attention_map"));
  EXPECT_EQ(both.at("files").size(), 3u + 4u + 1u);
}

TEST_F(WordMaps, SharedBranchesGiveTheSame) {
  make_pipeline("sdxl");
  const std::string run =
      "generate --quiet --model sdxl --prompt 'a red fox' --size 64 --steps 2 --guidance "
      "'cfg:scale=3 + tpg:scale=2,layers=d0 + nag' --attention-map fox --attention-effect fox,red "
      "--attention-effect-every 1 --output y.png --save-maps ";
  must(run + "on.safetensors");
  must(run + "off.safetensors --share off");
  for (const std::string name : {"fox", "fox-effect", "red-effect"})
    EXPECT_LT(relative_error(map_of("on.safetensors", name), map_of("off.safetensors", name)), 1e-3)
        << name;
}

TEST_F(WordMaps, ReachBeyondTheFirstChunk) {
  make_pipeline("sd1");
  const std::string filler =
      "abcdefghij abcdefghij abcdefghij abcdefghij abcdefghij abcdefghij "
      "abcdefghij abcdefghij ";
  must("generate --quiet --model sd1 --prompt '" + filler +
       "a fox' --size 64 --steps 2 --attention-map fox --attention-effect fox --save-maps "
       "m.safetensors --output y.png");
  EXPECT_GT(map_of("m.safetensors", "fox").min().item<double>(), 0);
  EXPECT_GT(map_of("m.safetensors", "fox-effect").max().item<double>(), 0);
  const Result cut = tiller("generate --quiet --model sd1 --plain-prompt --prompt '" + filler +
                            "a fox' --attention-map fox --output z.png");
  EXPECT_EQ(cut.code, 2);
  EXPECT_NE(cut.err.find("got 'fox', expected words of the prompt: abcdefghij."), std::string::npos)
      << cut.err;
}

TEST_F(WordMaps, AGridOfImagesGetsAGridOfMaps) {
  make_pipeline("sd1");
  must(std::string(kFox) + "--size 64 --count 2 --attention-map fox --output y.png");
  const Tensor grid = read_image(folder / "y-fox.png");
  EXPECT_GT(grid.size(2), 2 * grid.size(1) * 9 / 10);
}

TEST_F(WordMaps, WhatCannotBeMappedIsRefused) {
  make_pipeline("sd1");
  const std::string run = std::string(kFox) + "--size 64 --output y.png ";
  expect_usage_error(run + "--attention-map fix",
                     "--attention-map: got 'fix', expected words of the prompt: a, red and fox. "
                     "Did you mean 'fox'?");
  expect_usage_error(run + "--attention-effect ed", "got 'ed', expected words of the prompt");
  expect_usage_error(run + "--attention-map fox,,red", "--attention-map: got 'fox,,red'");
  expect_usage_error(run + "--prompt 'a red-fox' --attention-map 'red fox,red-fox'",
                     "--attention-map: got 'red-fox' beside a word whose file has the same name");
  expect_usage_error(run + "--attention-effect-every 2", "--attention-effect-every");
  expect_usage_error(run + "--save-maps m.safetensors", "--save-maps");
  expect_usage_error(run + "--attention-map fox --compare none --compare cfg", "--compare");
  expect_usage_error("generate --model model --class ant --attention-map ant --output y.png",
                     "the model reads no text");
  EXPECT_FALSE(fs::exists(folder / "y.png"));
}

}  // namespace
}  // namespace tiller::test
