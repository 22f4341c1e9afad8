#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

/// `tiller edit` on a tiny ADM of classes and 16 pixels a side, and on tiny pipelines.
class Edit : public Pipelines {
 protected:
  void SetUp() override {
    Pipelines::SetUp();
    write_picture("in.png", 16);
  }

  /// Left half white.
  void write_mask(const std::string& name, int64_t side) const {
    Tensor mask = at::zeros({3, side, side}, at::kByte);
    mask.narrow(2, 0, side / 2).fill_(255);
    write_png(folder / name, mask);
  }

  Json edit(const std::string& arguments) const {
    const Result result =
        tiller("edit --json --steps 6 --image in.png --output out.png " + arguments);
    EXPECT_EQ(result.code, 0) << arguments << "\n" << result.err;
    return result.code ? Json() : Json::parse(result.out);
  }

  void expect_error(const std::string& arguments, const std::string& expected) const {
    expect_refused("edit --quiet --steps 6 --image in.png --output out.png " + arguments, expected);
  }

  static double greatest_difference(const Tensor& a, const Tensor& b) {
    return (a.to(at::kInt) - b.to(at::kInt)).abs().max().item<double>();
  }

  Tensor image(const std::string& name) const { return read_image(folder / name); }
  Tensor before() const { return image("in.png"); }
  Tensor after() const { return image("out.png"); }

  /// Levels of 256 that another batch makes: a GPU's libraries choose their algorithms by its size.
  static constexpr int kRounding = 2;
  static constexpr const char* kAdm = "--model model --class ant ";
  /// A pipeline whose guidance is in reach of an inverse.
  static constexpr const char* kFox =
      "--model sd1 --dtype float32 --prompt 'a red fox' --guidance cfg:scale=1.5 ";
};

TEST_F(Edit, AnUnchangedClassGivesTheVeryImage) {
  for (const std::string more :
       {"", "--guidance cfg:scale=2", "--guidance 'cfg:scale=2 + tpg:layers=mid'",
        "--edit-control masactrl:step=0,layers=all", "--sampler bdia:gamma=0.96 --edit-from 1",
        "--edit-control pnp --guidance cfg:scale=2"}) {
    const Json report = edit(kAdm + std::string("--edit-class ant ") + more);
    EXPECT_TRUE(after().equal(before())) << more;
    EXPECT_EQ(report["changed"], 0) << more;
    EXPECT_EQ(report["reconstruction"]["exact"], true) << more;
  }
}

TEST_F(Edit, AnotherClassChangesTheImageButNotTheReconstruction) {
  const std::string run = kAdm + std::string("--edit-class bee ");
  const Json plain = edit(run);
  const Tensor free = after();
  EXPECT_FALSE(free.equal(before()));
  EXPECT_EQ(plain["reconstruction"]["max_error"], 0);
  EXPECT_EQ(plain["edit"]["after"], "bee");
  EXPECT_EQ(plain["edit"]["steps"], 4);  // 0.8 of 6
  // Beside its source an edit rounds otherwise than alone: controls that take nothing are the
  // peers.
  edit(run + "--edit-from 0.8 --edit-control masactrl:step=6");
  const Tensor beside = after();
  EXPECT_LE(greatest_difference(beside, free), kRounding);
  edit(run + "--edit-from 0.8 --edit-control pnp:features=0,attention=0");
  EXPECT_TRUE(after().equal(beside));
  for (const std::string control :
       {"masactrl:step=0,layers=all", "pnp:features=1,attention=0,layers=all",
        "pnp:features=0,attention=1,layers=all"}) {
    const Json report = edit(run + "--edit-from 0.8 --edit-control " + control);
    EXPECT_EQ(report["reconstruction"]["exact"], true) << control;
    EXPECT_FALSE(after().equal(beside)) << control;
    EXPECT_FALSE(after().equal(before())) << control;
  }
  EXPECT_EQ(edit(run + "--edit-from 0.34")["edit"]["steps"], 2);
  EXPECT_EQ(edit(run + "--edit-control masactrl")["edit"]["steps"], 6);
}

TEST_F(Edit, WritesAnImageAComparisonAndAPage) {
  edit(kAdm + std::string("--edit-class cat --guidance cfg:scale=2"));
  EXPECT_TRUE(fs::exists(folder / "out-compare.png"));
  const std::string page = bytes("out.html");
  for (const std::string part :
       {"before: ant", "after: cat", "the same image", "data:image/png;base64"})
    EXPECT_NE(page.find(part), std::string::npos) << part;
  const PngText text = read_png_text(folder / "out.png");
  EXPECT_EQ(text.at("parameters").substr(0, 3), "cat");
  EXPECT_EQ(Json::parse(text.at("tiller")).at("edit").at("before"), "ant");
  expect_refused("generate --quiet --from out.png", "recipe of an edit");
  const Result result = tiller("edit --quiet --steps 2 --image in.png --output results/ " +
                               (kAdm + std::string("--edit-class cat")));
  EXPECT_EQ(result.code, 0) << result.err;
  for (const char* name : {"edited.png", "compare.png", "index.html"})
    EXPECT_TRUE(fs::exists(folder / "results" / name)) << name;
}

TEST_F(Edit, AMaskKeepsWhatItCovers) {
  write_mask("mask.png", 16);
  const Json report = edit(kAdm + std::string("--edit-class bee --blend-mask mask.png"));
  EXPECT_TRUE(after().narrow(2, 8, 8).equal(before().narrow(2, 8, 8)));
  EXPECT_FALSE(after().narrow(2, 0, 8).equal(before().narrow(2, 0, 8)));
  EXPECT_EQ(report["reconstruction"]["exact"], true);
}

TEST_F(Edit, AnotherModelDrawsTheEdit) {
  Json config = tiny_config();
  config["num_heads"] = 1;
  make_model("other", config);
  const std::string run = kAdm + std::string("--edit-class ant ");
  const Json report = edit(run + "--edit-model other");
  EXPECT_FALSE(after().equal(before()));
  EXPECT_EQ(report["reconstruction"]["exact"], true);
  edit(run + "--edit-model model");
  EXPECT_TRUE(after().equal(before()));
  config["noise_schedule"] = "cosine";
  make_model("cosine", config);
  expect_error(run + "--edit-model cosine", "another noise schedule");
  expect_error(run + "--edit-model other --edit-control pnp", "--edit-model too");
}

TEST_F(Edit, AnotherGuidanceDrawsTheEdit) {
  const Json report = edit(kAdm + std::string("--edit-guidance cfg:scale=3"));
  EXPECT_EQ(report["reconstruction"]["exact"], true);
  EXPECT_FALSE(after().equal(before()));
}

TEST_F(Edit, PromptsChangeWhatAPipelineDraws) {
  make_pipeline("sd1");
  write_picture("in.png", 64);
  const Json same = edit(kFox + std::string("--edit-prompt 'a red fox'"));
  EXPECT_EQ(same["changed"], 0);
  EXPECT_EQ(same["reconstruction"]["exact"], true);
  const std::string run = kFox + std::string("--edit-prompt 'a red cat' ");
  edit(run + "--edit-from 1");
  const Tensor free = after();
  edit(run + "--edit-control p2p:cross=0,self=0");
  const Tensor beside = after();  // an edit beside its source that takes nothing of it
  EXPECT_LE(greatest_difference(beside, free), kRounding);
  for (const std::string more :
       {"--edit-control p2p:cross=1,self=1", "--edit-control p2p:mode=refine",
        "--edit-control p2p --edit-word cat=4", "--edit-control masactrl:step=0",
        "--edit-control pnp:features=1,attention=0",
        "--edit-control 'pnp:features=1' --guidance 'cfg:scale=1.5 + tpg:scale=1'"}) {
    const Json report = edit(run + more);
    EXPECT_EQ(report["reconstruction"]["exact"], true) << more;
    EXPECT_FALSE(after().equal(beside)) << more;
  }
  edit(kFox + std::string("--edit-prompt 'a red fox' --edit-control p2p"));
  const Json longer = edit(kFox + std::string("--edit-prompt 'a very red fox' --edit-control p2p"));
  EXPECT_EQ(longer["edit"]["control"]["text"], "p2p");
}

/// The region that words give, reported, and what it leaves of the source.
TEST_F(Edit, BlendsWhereWordsLie) {
  make_pipeline("sd1");
  write_picture("in.png", 64);
  const std::string run =
      kFox + std::string("--edit-prompt 'a red cat' --edit-from 1 --blend-word fox ");
  const Json wide = edit(run + "--blend-threshold 0");
  EXPECT_EQ(wide["blend_share"], 1);
  EXPECT_GT(wide["changed"], 0.01);
  const Json narrow = edit(run + "--blend-threshold 0.97");
  EXPECT_LT(narrow["blend_share"], 1);
  EXPECT_GT(narrow["blend_share"], 0);
  EXPECT_LT(narrow["changed"], wide["changed"]);
  for (const char* part : {"Might change", "fox lies, threshold 0.97", "float32"})
    EXPECT_NE(bytes("out.html").find(part), std::string::npos) << part;
  const Result told =
      tiller("edit --steps 6 --image in.png --output out.png " + run + "--blend-threshold 0");
  EXPECT_NE(told.err.find("A higher --blend-threshold makes it smaller."), std::string::npos)
      << told.err;
}

/// What direct inversion keeps is the image's own: with it in the edit, nothing would change.
TEST_F(Edit, RecordsLeadToTheImageAndNotToTheEdit) {
  make_pipeline("sd1");
  write_picture("in.png", 64);
  for (const std::string sampler : {"direct", "null-text:iterations=2", "npi"})
    for (const std::string control : {"", " --edit-control p2p"}) {
      const Json report =
          edit(kFox + std::string("--edit-prompt 'a red cat' --edit-from 1 --sampler ") + sampler +
               control);
      EXPECT_FALSE(after().equal(before())) << sampler << control;
      EXPECT_EQ(report["reconstruction"]["exact"], sampler == "direct") << sampler << control;
    }
}

TEST_F(Edit, MistakesAreOneLine) {
  expect_error("--model model --class ant", "--edit-prompt: got none");
  expect_error(
      "--model model --edit-class ant",
      "--class: got none, expected one: what the image shows. A model that reads text takes");
  expect_error(kAdm + std::string("--edit-class wasp"), "--edit-class: got 'wasp'");
  expect_error(kAdm + std::string("--edit-prompt bee"), "--prompt: got none");
  expect_error(kAdm + std::string("--edit-class bee --edit-control p2p"), "reads no text");
  expect_error(kAdm + std::string("--edit-class bee --edit-control masa"), "expected one of p2p");
  expect_error(kAdm + std::string("--edit-class bee --edit-word bee=2"), "--edit-control p2p");
  expect_error(kAdm + std::string("--edit-class bee --blend-word bee"), "reads no text");
  expect_error(kAdm + std::string("--edit-class bee --sampler dpm++2m"), "has no inverse");
  write_mask("mask.png", 8);
  expect_error(kAdm + std::string("--edit-class bee --blend-mask mask.png"),
               "8x8 pixels, expected the image's 16x16");
  expect_refused("edit --class ant --edit-class bee --model model", "--image: got none");
  write_picture("in.png", 20);
  expect_error(kAdm + std::string("--edit-class bee"), "20");
}

TEST_F(Edit, UnknownWordsAreNamed) {
  make_pipeline("sd1");
  write_picture("in.png", 64);
  const std::string run = kFox + std::string("--edit-prompt 'a red cat' ");
  expect_error(run + "--edit-control p2p --edit-word fox=2", "words of the prompt: a, red and cat");
  expect_error(run + "--edit-control p2p --edit-word cat", "expected WORD=WEIGHT");
  expect_error(run + "--blend-word dog", "--blend-word: got 'dog'");
  expect_error(kFox + std::string("--edit-prompt 'a fox' --edit-control p2p:mode=replace"),
               "3 and 2 words");
}

}  // namespace
}  // namespace tiller::test
