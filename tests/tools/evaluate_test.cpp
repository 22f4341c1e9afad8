#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

/// Evaluations on a few tiny images.
class Evaluate : public Pipelines {
 protected:
  /// A picture of its own for every name: `side` x `side`.
  void make_image(const std::string& name, int64_t side) const {
    fs::create_directories((folder / name).parent_path());
    const Tensor blocks = formula_tensor(name, {3, side / 4, side / 4}) * 100 + 128;
    write_png(folder / name, blocks.repeat_interleave(4, 1).repeat_interleave(4, 2).to(at::kByte));
  }
  void make_class_folders() const {
    for (const char* name : {"data/ant/1.png", "data/bee/2.png", "data/cat/3.png"})
      make_image(name, 16);
  }
  Result evaluate(const std::string& arguments) const {
    return tiller("evaluate --task inversion --data data --output report --steps 4 --quiet " +
                  arguments);
  }
  Json evaluated(const std::string& arguments) const {
    const Result result = evaluate("--json - " + arguments);
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_EQ(result.err, "");
    return Json::parse(result.out, nullptr, false);
  }
  /// A method's figures without what no two runs share.
  static Json lasting(Json methods) {
    for (auto& method : methods) method.erase("seconds");
    return methods;
  }
  size_t lines(const std::string& name) const {
    const std::string text = bytes(name);
    return size_t(std::count(text.begin(), text.end(), '{'));
  }
};

TEST_F(Evaluate, ExactMethodsReturnEveryBit) {
  make_class_folders();
  const Json json =
      evaluated("--model model --method bdia:gamma=1 --method bdia:gamma=0.96 --batch 2");
  ASSERT_EQ(json.at("methods").size(), 2u);
  for (const Json& method : json.at("methods")) {
    EXPECT_EQ(method.at("images"), 3);
    EXPECT_EQ(method.at("failed"), 0);
    for (const char* key : {"latent_mse", "latent_max_error", "image_mse"})
      EXPECT_EQ(method.at(key), 0) << key;
    for (const char* key : {"bit_equal", "ssim"}) EXPECT_EQ(method.at(key), 1) << key;
    EXPECT_TRUE(method.at("psnr").is_null());
    EXPECT_TRUE(method.at("lpips").is_null());
    EXPECT_GT(method.at("noise_std"), 0);
    EXPECT_GT(method.at("noise_kurtosis"), 0);
    EXPECT_EQ(method.at("evaluations"), 2 * 4 - 1);
  }
  EXPECT_EQ(json.at("methods").at(1).at("method"), "bdia:gamma=0.96");
  EXPECT_EQ(Json::parse(bytes("report/results.json")), json);
}

TEST_F(Evaluate, PrintsATableAndWritesAReport) {
  make_class_folders();
  const Result result = evaluate("--model model --method bdia --guidance cfg:scale=2 --pictures 2");
  EXPECT_EQ(result.code, 0) << result.err;
  for (const char* word : {"method", "latent MSE", "bit-equal", "PSNR", "kurtosis", "\nbdia"})
    EXPECT_NE(result.out.find(word), std::string::npos) << word << " in " << result.out;
  const std::string csv = bytes("report/results.csv"), page = bytes("report/index.html");
  EXPECT_TRUE(csv.starts_with("method,images,failed,latent_mse,")) << csv;
  EXPECT_NE(csv.find("\nbdia,3,0,0,0,1,0,inf,1,,"), std::string::npos) << csv;
  size_t images = 0;
  for (size_t at = page.find("<img"); at != page.npos; at = page.find("<img", at + 1)) ++images;
  EXPECT_EQ(images, 2u * 3);  // of each: the original, what came back and the difference
  for (const char* word : {"ant/1.png", "bee/2.png", "cfg:scale=2"})
    EXPECT_NE(page.find(word), std::string::npos) << word;
  EXPECT_EQ(page.find("cat/3.png"), std::string::npos);
}

TEST_F(Evaluate, FloatsLoseBits) {
  make_class_folders();
  const Json method = evaluated("--model model --method bdia:lattice=off").at("methods").at(0);
  EXPECT_LT(method.at("bit_equal"), 1);
  EXPECT_GT(method.at("latent_max_error"), 0);
  EXPECT_LT(method.at("latent_max_error"), 1e-3);
}

TEST_F(Evaluate, ByDefaultAllWithAnInverse) {
  make_class_folders();
  const Json json = evaluated("--model model --count 1");
  const size_t methods = json.at("methods").size() + json.at("left_out").size();
  EXPECT_GE(methods, 2u);
  for (const Json& method : json.at("methods")) EXPECT_EQ(method.at("failed"), 0) << method;
}

/// What is finished stays; a line that a kill cut short, and a batch that it cut off, are made
/// anew.
TEST_F(Evaluate, ResumesWithTheSameFigures) {
  make_class_folders();
  const std::string arguments = "--model model --method bdia:lattice=off --batch 1";
  const Json whole = evaluated(arguments);
  const std::string log = bytes("report/images.jsonl");
  fs::remove(folder / "report" / "results.json");
  fs::remove(folder / "report" / "index.html");
  EXPECT_EQ(evaluated(arguments), whole);  // seconds, too: nothing is measured again
  EXPECT_EQ(bytes("report/images.jsonl"), log);
  write_file(folder / "report" / "images.jsonl", log.substr(0, log.size() * 2 / 3));
  EXPECT_EQ(lasting(evaluated(arguments).at("methods")), lasting(whole.at("methods")));
  fs::remove_all(folder / "report");
  EXPECT_EQ(lasting(evaluated(arguments).at("methods")), lasting(whole.at("methods")));
}

TEST_F(Evaluate, AnotherRecipeIsMeasuredAnew) {
  make_class_folders();
  evaluated("--model model --method bdia");
  const size_t before = lines("report/images.jsonl");
  evaluated("--model model --method bdia --guidance cfg:scale=2");
  EXPECT_GT(lines("report/images.jsonl"), before);
  const size_t after = lines("report/images.jsonl");
  make_image("data/ant/1.png", 12);
  evaluated("--model model --method bdia");
  EXPECT_GT(lines("report/images.jsonl"), after);
  const size_t plain = lines("report/images.jsonl");
  evaluated("--model model --method bdia --fp8");
  EXPECT_GT(lines("report/images.jsonl"), plain);
}

TEST_F(Evaluate, TextModelsReadCaptionsAndSayWhatTheVaeLoses) {
  make_pipeline("sd1");
  make_image("data/a.png", 64);
  make_image("data/b.png", 64);
  write("data/metadata.jsonl",
        "{\"file_name\": \"a.png\", \"text\": \"a fox\"}\n"
        "{\"file_name\": \"b.png\", \"text\": \"snow\"}\n");
  const Json captions = evaluated("--model sd1 --size 64 --method bdia --guidance cfg:scale=3");
  ASSERT_EQ(captions.at("methods").size(), 2u);
  const Json &vae = captions.at("methods").at(0), &bdia = captions.at("methods").at(1);
  EXPECT_EQ(vae.at("method"), "VAE alone");
  EXPECT_TRUE(vae.at("latent_mse").is_null());
  EXPECT_GT(vae.at("image_mse"), 0);
  EXPECT_EQ(bdia.at("bit_equal"), 1);
  EXPECT_NEAR(bdia.at("psnr"), vae.at("psnr"), 0.05);
  const Json one = evaluated("--model sd1 --size 64 --method bdia --prompt 'a street'");
  EXPECT_NE(one.at("methods").at(1).at("noise_std"), bdia.at("noise_std"));
}

/// A run that must fail with one line which holds `expected`, before anything is written.
#define EXPECT_EVALUATE_REFUSED(arguments, expected)                                \
  expect_refused(std::string("evaluate --output report ") + (arguments), expected); \
  EXPECT_FALSE(fs::exists(folder / "report"))

TEST_F(Evaluate, RefusesInOneLine) {
  make_class_folders();
  make_image("plain/a.png", 16);
  make_image("other/dog/a.png", 16);
  const std::string run = "--task inversion --steps 2 --quiet --model model ";
  EXPECT_EVALUATE_REFUSED("--data data", "--task");
  EXPECT_EVALUATE_REFUSED("--task invertion --data data", "invertion");
  EXPECT_EVALUATE_REFUSED(run, "--data: got none");
  EXPECT_EVALUATE_REFUSED(run + "--data nowhere", "nowhere");
  EXPECT_EVALUATE_REFUSED(run + "--data data --method bdai", "Did you mean 'bdia'?");
  EXPECT_EVALUATE_REFUSED(run + "--data data --method dpm++2m-sde", "has no inverse");
  EXPECT_EVALUATE_REFUSED(run + "--data data --method bdia:gamma=0.5", "gamma: got 0.5");
  EXPECT_EVALUATE_REFUSED(run + "--data data --method bdia --method bdia", "twice");
  EXPECT_EVALUATE_REFUSED(run + "--data data --method bdia --prompt 'a cat'", "--prompt");
  EXPECT_EVALUATE_REFUSED(run + "--data plain --method bdia", "--class: got none");
  EXPECT_EVALUATE_REFUSED(run + "--data other --method bdia", "the class 'dog'");
  EXPECT_EVALUATE_REFUSED(run + "--data data --method bdia --lpips none.pth", "none.pth");
  EXPECT_EVALUATE_REFUSED(run + "--data data --method bdia --size 32x16", "a square");
  const Result result = tiller("evaluate " + run + "--data data");
  EXPECT_EQ(result.code, 2);
  EXPECT_NE(result.err.find("--output: got none"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace tiller::test
