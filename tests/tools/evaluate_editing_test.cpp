#include <limits>

#include "tests/metrics/pictures.h"
#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

/// `tiller evaluate --task editing` on a tiny PIE-Bench of two edits, and on images by class.
class EvaluateEditing : public Pipelines {
 protected:
  void make_image(const std::string& name, int64_t side) const {
    fs::create_directories((folder / name).parent_path());
    write_png(folder / name, picture(name, side, side));
  }

  static Json edit_of(const std::string& file, const std::string& source, const std::string& target,
                      const std::string& words, const std::vector<int64_t>& mask) {
    return {{"image_path", file},    {"original_prompt", source}, {"editing_prompt", target},
            {"blended_word", words}, {"editing_type_id", "1"},    {"mask", mask}};
  }

  /// The first may change in the upper half, the second everywhere.
  static Json mapping() {
    return {{"000", edit_of("a.png", "a [fox]", "a [cat]", "fox cat", {0, 512 * 256})},
            {"001", edit_of("b/b.png", "snow", "red snow", "", {0, 512 * 512})}};
  }

  void make_benchmark() const {
    make_pipeline("sd1");
    make_image("pie/annotation_images/a.png", 80);
    make_image("pie/annotation_images/b/b.png", 64);
    write("pie/mapping_file.json", mapping().dump());
  }

  Json evaluated(const std::string& arguments) const {
    const Result result =
        tiller("evaluate --task editing --output report --steps 4 --quiet --json - " + arguments);
    EXPECT_EQ(result.code, 0) << arguments << "\n" << result.err;
    EXPECT_EQ(result.err, "");
    return Json::parse(result.out, nullptr, false);
  }

  static Json lasting(Json methods) {
    for (auto& method : methods) method.erase("seconds");
    return methods;
  }

  static constexpr const char* kPie =
      "--data pie --model sd1 --size 64 --dtype float32 --guidance cfg:scale=1.5 ";
};

TEST_F(EvaluateEditing, EveryMethodMakesEveryEditOfPieBench) {
  make_benchmark();
  const Json json =
      evaluated(kPie + std::string("--method bdia --method 'bdia + p2p:cross=1' "
                                   "--method 'bdia + masactrl + blend:by=mask' "
                                   "--method 'bdia:gamma=0.96 + blend' "
                                   "--method 'bdia + p2p:cross=0,self=0' --pictures 1"));
  const Json& methods = json.at("methods");
  ASSERT_EQ(methods.size(), 5u);
  EXPECT_EQ(json.at("task"), "editing");
  for (const Json& method : methods) {
    EXPECT_EQ(method.at("images"), 2);
    EXPECT_EQ(method.at("failed"), 0) << method;
    for (const char* key : {"psnr", "ssim", "mse", "seconds"}) EXPECT_GT(method.at(key), 0) << key;
    for (const char* key : {"lpips", "clip", "structure"}) EXPECT_TRUE(method.at(key).is_null());
  }
  EXPECT_EQ(methods.at(1).at("method"), "bdia + p2p:cross=1");
  const auto mse = [&](int method) { return methods.at(method).at("mse").get<double>(); };
  EXPECT_NEAR(mse(4), mse(0), 0.01 * mse(0)) << "a control that takes nothing";
  EXPECT_GT(std::abs(mse(1) - mse(0)), 0.02 * mse(0));
  EXPECT_LT(mse(2), 0.8 * mse(0)) << "outside of the mask the latents are the source's";
  EXPECT_EQ(json.at("recipe").at("edit_from"), 1);
  EXPECT_EQ(methods.at(2).at("evaluations"), 2 * 4 - 1);
  const std::string page = bytes("report/index.html");
  for (const char* word : {"000: a fox to a cat", "bdia + masactrl", "Editing, method by method"})
    EXPECT_NE(page.find(word), std::string::npos) << word;
  EXPECT_EQ(page.find("red snow"), std::string::npos);  // the second isn't shown
}

/// The figures are those of the picture that the report shows.
TEST_F(EvaluateEditing, MeasuresWhatLiesOutsideOfTheMask) {
  make_pipeline("sd1");
  make_image("pie/annotation_images/a.png", 64);
  write("pie/mapping_file.json", Json{{"000", mapping().at("000")}}.dump());
  const Json method = evaluated(kPie + std::string("--method bdia")).at("methods").at(0);
  fs::path shown;
  for (const auto& entry : fs::directory_iterator(folder / "report" / "pictures"))
    shown = entry.path();
  const Tensor difference =
      ((read_image(shown).to(at::kDouble) - read_image(folder / "pie/annotation_images/a.png")) /
       255);
  // Of 64 rows 32 may change, and the first column, which the benchmark's border covers.
  const Tensor outside = difference.narrow(1, 32, 32).narrow(2, 1, 63);
  const double expected = outside.square().sum().item<double>() / double(difference.numel());
  EXPECT_NEAR(method.at("mse"), expected, 1e-9);
  EXPECT_NEAR(method.at("psnr"), -10 * std::log10(expected), 1e-6);
}

TEST_F(EvaluateEditing, AsksNetworksThatItIsGiven) {
  make_benchmark();
  const Json clip = test::fixture("reconstruction.json").at("clip"),
             structure = test::fixture("reconstruction.json").at("structure");
  write("clip/config.json", clip.at("config").dump());
  make_tokenizer("clip", "<|endoftext|>");
  NamedTensors tensors = formula_tensors(clip.at("shapes"));
  tensors.emplace_back("logit_scale", at::scalar_tensor(4.6, at::kFloat));
  save_safetensors(folder / "clip/model.safetensors", tensors);
  save_safetensors(folder / "dino.safetensors", formula_tensors(structure.at("shapes")));
  const Json method =
      evaluated(kPie + std::string("--method bdia --clip clip --structure dino.safetensors"))
          .at("methods")
          .at(0);
  EXPECT_EQ(method.at("failed"), 0) << method;
  EXPECT_GT(method.at("structure"), 0);
  for (const char* key : {"clip", "clip_edited"}) EXPECT_TRUE(method.at(key).is_number()) << key;
  EXPECT_NE(method.at("clip"), method.at("clip_edited"));
}

TEST_F(EvaluateEditing, ImagesOfAFolderBecomeOneClass) {
  for (const char* name : {"data/ant/1.png", "data/bee/2.png"}) make_image(name, 16);
  const std::string run = "--data data --model model --edit-class cat ";
  const Json json = evaluated(run);
  std::vector<std::string> names;
  for (const Json& method : json.at("methods")) names.push_back(method.at("method"));
  EXPECT_EQ(names, (std::vector<std::string>{"bdia", "bdia + masactrl", "bdia + pnp"}));
  EXPECT_NE(bytes("report/index.html").find("ant to cat"), std::string::npos);
  // A class that becomes itself gives the image's very pixels.
  const Json same = evaluated(
      "--data data/ant --class cat --model model --edit-class cat "
      "--method bdia");
  EXPECT_EQ(same.at("methods").at(0).at("mse"), 0);
}

/// Methods that need the source beside the edit can't be guided otherwise on the way back.
TEST_F(EvaluateEditing, GuidesTheEditAlone) {
  for (const char* name : {"data/ant/1.png", "data/bee/2.png"}) make_image(name, 16);
  const std::string run = "--data data --model model --edit-class cat ";
  const Json alike = evaluated(run + "--method bdia").at("methods");
  const Json json = evaluated(run + "--edit-guidance cfg:scale=3");
  ASSERT_EQ(json.at("methods").size(), 1u);
  EXPECT_NE(lasting(json.at("methods")), lasting(alike));
  EXPECT_EQ(json.at("left_out").size(), 2u) << json;
  expect_refused("evaluate --task editing --output report --quiet --steps 4 " + run +
                     "--edit-guidance cfg:scale=3 --method 'bdia + pnp'",
                 "--edit-guidance too");
}

TEST_F(EvaluateEditing, ResumesWithTheSameFigures) {
  make_benchmark();
  const std::string run = kPie + std::string("--method 'bdia + p2p'");
  const Json whole = evaluated(run);
  const std::string log = bytes("report/images.jsonl");
  EXPECT_EQ(evaluated(run), whole);  // seconds, too: nothing is measured again
  EXPECT_EQ(bytes("report/images.jsonl"), log);
  write_file(folder / "report" / "images.jsonl", log.substr(0, log.size() * 2 / 3));
  EXPECT_EQ(lasting(evaluated(run).at("methods")), lasting(whole.at("methods")));
  EXPECT_NE(lasting(evaluated(run + " --edit-from 0.5").at("methods")),
            lasting(whole.at("methods")));
}

TEST_F(EvaluateEditing, OneBadEditLeavesTheOthers) {
  make_benchmark();
  Json edits = mapping();
  edits["001"]["blended_word"] = "frog";
  write("pie/mapping_file.json", edits.dump());
  write("pie/annotation_images/a.png", "no image");
  const Json json = evaluated(kPie + std::string("--method bdia --method 'bdia + blend'"));
  EXPECT_EQ(json.at("methods").at(0).at("failed"), 1);
  EXPECT_EQ(json.at("methods").at(1).at("failed"), 2);
  const std::string trouble = json.at("methods").at(1).at("trouble");
  EXPECT_NE(trouble.find("a.png"), std::string::npos) << trouble;
}

TEST_F(EvaluateEditing, RefusesInOneLine) {
  make_benchmark();
  make_image("plain/ant/a.png", 16);
  const std::string start = "evaluate --task editing --output report --quiet --steps 2 ";
  const std::string pie = start + kPie;
  const auto refused = [&](const std::string& arguments, const std::string& expected) {
    expect_refused(arguments, expected);
    EXPECT_FALSE(fs::exists(folder / "report")) << arguments;
  };
  refused(start + "--model model", "--data: got none");
  refused(start + "--model model --data nowhere --edit-class ant", "nowhere: doesn't exist");
  refused(start + "--model model --data plain", "without mapping_file.json");
  refused(start + "--model model --data plain --edit-class wasp", "wasp");
  refused(start + "--model model --data plain --edit-prompt x", "--edit-class");
  refused(start + "--model model --data pie", "reads text");
  refused(pie + "--method 'bdia + p3p'", "Did you mean 'p2p'?");
  refused(pie + "--method 'bdia + p2p + pnp'", "one control and one blend");
  refused(pie + "--method 'bdia +'", "expected SAMPLER + CONTROL");
  refused(pie + "--method 'bdia + p2p:cross=2'", "cross: got '2'");
  refused(pie + "--method 'bdia + blend:by=word'", "by: got 'word'");
  refused(pie + "--method euler", "has no inverse");
  refused(pie + "--batch 2", "--batch");
  refused(pie + "--edit-prompt x", "--edit-prompt");
  refused(start + "--model model --data plain --edit-class bee --method 'bdia + blend'",
          "without masks");
  refused("evaluate --task inversion --data plain --output report --edit-class bee",
          "--edit-class: got it");
  fs::remove(folder / "pie/annotation_images/b/b.png");
  refused(pie, "b.png: is missing, 1 of 2 images are");
  write("pie/mapping_file.json", "{}");
  refused(pie, "got 0 edits");
}

}  // namespace
}  // namespace tiller::test
