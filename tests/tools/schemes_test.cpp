#include "tools/schemes.h"

#include <gtest/gtest.h>

#include "io/error.h"
#include "io/file.h"
#include "tools/evaluate.h"
#include "tools/program.h"

namespace tiller::test {
namespace {

const Command& evaluate_command() {
  for (const auto& command : commands())
    if (command.name == "evaluate") return command;
  throw Error("no evaluate");
}

std::vector<std::string> names(const std::vector<std::string>& arguments) {
  std::vector<std::string> all;
  for (const auto& scheme : choose_schemes(Flags::parse(evaluate_command(), arguments)))
    all.push_back(scheme.name());
  return all;
}

std::string failure(const std::vector<std::string>& arguments) {
  try {
    names(arguments);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

using Texts = std::vector<std::string>;

TEST(Schemes, BracesAreAllCombinations) {
  EXPECT_EQ(
      names({"--scheme", "none", "--scheme", "cfg:scale={1,2} + tpg:scale={3,4},layers=mid"}),
      Texts({"none", "cfg:scale=1 + tpg:scale=3,layers=mid", "cfg:scale=1 + tpg:scale=4,layers=mid",
             "cfg:scale=2 + tpg:scale=3,layers=mid", "cfg:scale=2 + tpg:scale=4,layers=mid"}));
}

TEST(Schemes, BracesMustPair) {
  for (const std::string text : {"cfg:scale={1,2", "cfg:scale=1}", "cfg:scale={1,{2}}", "a}b{"})
    EXPECT_NE(failure({"--scheme", text}).find("braces in pairs"), Texts::value_type::npos) << text;
  EXPECT_NE(failure({"--scheme", "cfg:scale={1,}"}).find("each side of a comma"),
            std::string::npos);
  const std::string ten = "{0,1,2,3,4,5,6,7,8,9}";
  EXPECT_NE(failure({"--scheme", ten + ten + ten + ten}).find("at most"), std::string::npos);
}

TEST(Schemes, EachOnceAndAtLeastOne) {
  EXPECT_NE(failure({"--scheme", "cfg:scale={2,2}"}).find("twice"), std::string::npos);
  EXPECT_NE(failure({}).find("--scheme: got none"), std::string::npos);
}

class SchemesFile : public testing::Test {
 protected:
  void SetUp() override {
    file_ = fs::temp_directory_path() / ("schemes-" + std::to_string(getpid()));
  }
  void TearDown() override { fs::remove(file_); }
  Texts from(const std::string& text) {
    write_file(file_, text);
    return names({"--schemes", file_.string()});
  }
  std::string refused(const std::string& text) {
    write_file(file_, text);
    return failure({"--schemes", file_.string()});
  }
  fs::path file_;
};

TEST_F(SchemesFile, IsYamlOrJson) {
  const Texts want = {"none", "cfg:scale=1", "cfg:scale=2", "tpg, euler, 10 steps",
                      "tpg, euler, 30 steps"};
  EXPECT_EQ(from("# comment\n- none\n- cfg:scale={1,2}\n- guidance: tpg\n  sampler: euler\n"
                 "  steps: [10, 30]\n"),
            want);
  EXPECT_EQ(from(R"(["none", "cfg:scale={1,2}",
                     {"guidance": "tpg", "sampler": "euler", "steps": [10, 30]}])"),
            want);
}

TEST_F(SchemesFile, CombinesCaches) {
  EXPECT_EQ(from("- guidance: [none, cfg]\n  cache: [none, 'deepcache:interval=3']\n"),
            Texts({"none, no cache", "none, deepcache:interval=3", "cfg, no cache",
                   "cfg, deepcache:interval=3"}));
}

TEST_F(SchemesFile, CombinesWaysOfTakingSteps) {
  EXPECT_EQ(from("- guidance: none\n  steps: [5, 20]\n  parallel: [none, 'taa:window=8']\n"),
            Texts({"none, 5 steps, sequential", "none, 5 steps, taa:window=8",
                   "none, 20 steps, sequential", "none, 20 steps, taa:window=8"}));
}

TEST_F(SchemesFile, NamesTheLineThatIsWrong) {
  EXPECT_NE(refused("- none\n- guidence: tpg\n").find("line 2"), std::string::npos);
  EXPECT_NE(refused("- none\n- guidence: tpg\n").find("'guidance'"), std::string::npos);
  EXPECT_NE(refused("- steps: 3\n").find("a key `guidance`"), std::string::npos);
  EXPECT_NE(refused("- guidance: tpg\n  steps: many\n").find("'many'"), std::string::npos);
  EXPECT_NE(refused("- guidance: tpg\n  steps: 3\n  steps: 5\n")
                .find("line 3: expected a key `steps` once"),
            std::string::npos);
  EXPECT_NE(refused("none").find("no list"), std::string::npos);
  EXPECT_NE(refused("- [a\n").find("neither YAML nor JSON"), std::string::npos);
  EXPECT_NE(refused("- guidance: {a: b}\n").find("line 1"), std::string::npos);
}

}  // namespace
}  // namespace tiller::test
