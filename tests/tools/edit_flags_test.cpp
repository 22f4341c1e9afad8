#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

/// What `tiller edit` and its neighbours say of their flags and results.
class EditFlags : public Pipelines {
 protected:
  void SetUp() override {
    Pipelines::SetUp();
    write_picture("in.png", 16);
  }

  static constexpr const char* kEdit =
      "edit --model model --class ant --edit-class bee --steps 3 --image in.png ";
};

TEST_F(EditFlags, NoSourceIsOverwritten) {
  fs::copy(folder / "in.png", folder / "x-compare.png");
  const std::string edit = "edit --model model --class ant --edit-class bee --steps 3 --image ";
  expect_refused(edit + "in.png --output ./in.png", "which is --image's file");
  expect_refused(edit + "x-compare.png --output x.png", "which is --image's file");
  expect_refused(edit + "in.png --blend-mask x-compare.png --output x.png",
                 "which is --blend-mask's file");
}

TEST_F(EditFlags, AControlOfEditsIsNoControlNet) {
  expect_refused(kEdit + std::string("--control p2p:cross=0.6"),
                 "--control: got 'p2p:cross=0.6', expected a ControlNet's folder. Did you mean "
                 "--edit-control p2p:cross=0.6?");
}

TEST_F(EditFlags, OneValueIsEnough) {
  expect_refused(kEdit + std::string("--edit-control pnp --edit-control masactrl"),
                 "--edit-control: got 'pnp' and 'masactrl', expected one of them");
  expect_refused(kEdit + std::string("--image other.png"), "--image: got 'in.png' and 'other.png'");
  expect_refused(kEdit + std::string("--class cat"), "--class: got 'ant' and 'cat'");
  expect_refused("generate --seed 1 --seed 2", "--seed: got '1' and '2'");
  const Result repeated = tiller(
      "generate --quiet --quiet --model model --class ant --class bee --steps 2 --output d/");
  EXPECT_EQ(repeated.code, 0) << repeated.err;
  EXPECT_TRUE(fs::exists(folder / "d" / "00001.png"));
}

TEST_F(EditFlags, FlagsWithoutEffectAreRefusedOrNoted) {
  expect_refused(kEdit + std::string("--blend-threshold 0.5"),
                 "--blend-threshold: got no --blend-word");
  EXPECT_NE(tiller(kEdit + std::string("--reconstruct off --edit-control pnp"))
                .err.find("nothing changes by --reconstruct off"),
            std::string::npos);
  expect_refused(kEdit + std::string("--negative-prompt x"), "--negative-prompt: got 'x'");
  expect_refused(kEdit + std::string("--edit-from 0"), "--edit-from: got less than one");
  expect_refused(kEdit + std::string("--edit-from 0.3"), "--edit-from: got less than one");
  make_pipeline("sd1");
  const std::string run =
      "generate --model sd1 --prompt fox --negative-prompt x --steps 2 --size 64 --output y.png ";
  const std::string note = "No guidance reads the negative prompt";
  EXPECT_NE(tiller(run).err.find(note), std::string::npos);
  EXPECT_EQ(tiller(run + "--guidance cfg:scale=2").err.find(note), std::string::npos);
}

TEST_F(EditFlags, ThePageAndTheReportTellOfTheModelAndTheWayBack) {
  const Result result = tiller(kEdit + std::string("--output out.png"));
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_NE(result.err.find("the same pixels come back"), std::string::npos) << result.err;
  EXPECT_NE(bytes("out.html").find("<dd>model</dd>"), std::string::npos);
  const Json json = Json::parse(tiller(kEdit + std::string("--output out.png --json")).out);
  EXPECT_TRUE(json.at("reconstruction").at("psnr").is_null());
}

TEST_F(EditFlags, WhatASecondModelLacksIsSaidOfIt) {
  make_pipeline("sd1");
  write_picture("in.png", 64);
  expect_refused(
      "edit --model sd1 --prompt fox --edit-prompt cat --edit-model model --steps 3 --image in.png",
      "--edit-model model: --prompt: got 'cat'");
}

TEST_F(EditFlags, HelpTellsOfEachCommandsOwnDefaults) {
  const std::string invert = tiller("invert --help").out, evaluate = tiller("evaluate --help").out;
  for (const char* words : {"default 50", "default bdia", "what the images show, by name or index"})
    EXPECT_NE(invert.find(words), std::string::npos) << words;
  EXPECT_EQ(invert.find("default 30"), std::string::npos);
  EXPECT_NE(evaluate.find("default 30, for inversion and editing 50"), std::string::npos);
}

}  // namespace
}  // namespace tiller::test
