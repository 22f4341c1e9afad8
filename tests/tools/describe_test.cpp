#include <algorithm>
#include <sstream>

#include "tests/tools/program.h"

namespace tiller::test {
namespace {

class Describe : public ProgramTest {};

TEST_F(Describe, HelpFitsAScreenAndEndsWithExamples) {
  for (const std::string command :
       {"generate", "invert", "edit", "evaluate", "train", "info", "list"}) {
    const Result result = tiller(command + " --help");
    EXPECT_EQ(result.code, 0);
    std::istringstream lines(result.out);
    std::vector<std::string> all;
    for (std::string line; std::getline(lines, line);) {
      EXPECT_LE(line.size(), 100u) << line;
      all.push_back(line);
    }
    ASSERT_GE(all.size(), 3u);
    EXPECT_LE(all.size(), 40u) << command;
    EXPECT_EQ(all[all.size() - 3], "Examples:");
    EXPECT_TRUE(all.back().starts_with("  tiller " + command));
  }
}

TEST_F(Describe, WithoutArgumentsItIsAWrongUsage) {
  const Result result = tiller("");
  EXPECT_EQ(result.code, 2);
  EXPECT_EQ(result.out, "");
  EXPECT_NE(result.err.find("tiller generate"), std::string::npos);
  EXPECT_EQ(tiller("--version").out, "tiller 0.1.0\n");
}

TEST_F(Describe, ListNamesEveryOption) {
  const std::string text = tiller("list").out;
  const Json list = Json::parse(tiller("list --json").out);
  for (const auto& [category, entries] : list.items())
    for (const Json& entry : entries) {
      EXPECT_NE(text.find("  " + entry.at("name").get<std::string>() + " "), std::string::npos);
      EXPECT_FALSE(entry.at("description").get<std::string>().empty());
      for (const Json& option : entry.at("options")) {
        const std::string name = option.at("name");
        EXPECT_NE(text.find("    " + name + "="), std::string::npos) << name;
      }
    }
}

TEST_F(Describe, ListTakesNames) {
  const Json list = Json::parse(tiller("list ddim taa heun --json").out);
  EXPECT_EQ(list.size(), 2u);
  EXPECT_EQ(list.at("samplers").size(), 2u);
  EXPECT_EQ(list.at("parallel").at(0).at("name"), "taa");
  const std::string text = tiller("list ddim").out;
  EXPECT_NE(text.find("eta="), text.npos);
  EXPECT_EQ(text.find("heun"), text.npos) << text;
  expect_refused("list dim", "Did you mean 'ddim'?");
}

TEST_F(Describe, InfoOfAModel) {
  const Json json = Json::parse(tiller("info model --json").out);
  int64_t numbers = 0;
  for (const auto& [name, tensor] : tiny_weights(tiny_config())) numbers += tensor.numel();
  EXPECT_EQ(json.at("parameters"), numbers);
  EXPECT_EQ(json.at("class_names"), Json({"ant", "bee", "cat"}));
  EXPECT_EQ(json.at("sites").at(0).at("name"), "d0");
  EXPECT_EQ(json.at("sites").at(0).at("tokens"), "8x8");
  const std::string text = tiller("info model").out;
  EXPECT_NE(text.find("middle_block.1"), std::string::npos) << text;
}

TEST_F(Describe, InfoOfTensorsAndImages) {
  save_safetensors(folder / "x.safetensors", {{"latents", at::zeros({2, 3})}}, {{"made", "here"}});
  const Json json = Json::parse(tiller("info x.safetensors --json").out);
  EXPECT_EQ(json.at("list").at(0).at("shape"), Json({2, 3}));
  EXPECT_EQ(json.at("metadata").at("made"), "here");
  fs::copy_file(folder / "x.safetensors", folder / "model" / "state.safetensors");
  const Result beside = tiller("info model/state.safetensors");
  EXPECT_EQ(beside.code, 0) << beside.err;
  EXPECT_NE(beside.out.find("latents"), std::string::npos) << beside.out;
  const Result lone = tiller("info '" TILLER_SOURCE_DIR "/weights/emoji/unet'");
  EXPECT_NE(lone.out.find("unknown: the rest of its pipeline says it"), lone.out.npos) << lone.out;
  generate("--seed 6 --output a.png");
  EXPECT_EQ(Json::parse(tiller("info a.png --json").out).at("recipe").at("request").at("seed"), 6);
  EXPECT_NE(tiller("info a.png").out.find("parameters"), std::string::npos);
}

}  // namespace
}  // namespace tiller::test
