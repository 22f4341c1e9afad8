#include "io/numpy_file.h"
#include "metrics/feature_network.h"
#include "metrics/frechet.h"
#include "tests/port.h"
#include "tests/tools/full_disk.h"
#include "tests/tools/pipelines.h"
#include "tests/tools/resnet_weights.h"

namespace tiller::test {
namespace {

/// Sets of tiny images, seen by a CIFAR ResNet of random weights.
class EvaluateSets : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    save_random_resnet(folder / "resnet.safetensors");
    for (int i = 0; i < 12; ++i) {
      make_image("real/" + std::to_string(i) + ".png", "real", i, 32);
      make_image("made/" + std::to_string(i) + ".png", "made", i, 32);
    }
  }
  Tensor pixels(const std::string& kind, int i, int64_t side) const {
    const Tensor blocks = formula_tensor(kind + std::to_string(i), {3, side / 4, side / 4});
    return (blocks * 100 + 128).repeat_interleave(4, 1).repeat_interleave(4, 2).to(at::kByte);
  }
  void make_image(const std::string& name, const std::string& kind, int i, int64_t side) const {
    fs::create_directories((folder / name).parent_path());
    write_png(folder / name, pixels(kind, i, side));
  }
  static std::string network() { return " --features cifar-resnet:weights=resnet.safetensors "; }
  Result evaluate(const std::string& arguments) const {
    return tiller("evaluate --quiet" + network() + arguments);
  }
  Json evaluated(const std::string& arguments) const {
    const Result result = evaluate(arguments + " --json out.json");
    EXPECT_EQ(result.code, 0) << result.err;
    return Json::parse(bytes("out.json"), nullptr, false);
  }
  void expect_refused(const std::string& arguments, const std::string& part, int code) const {
    const Result result = evaluate(arguments);
    EXPECT_EQ(result.code, code) << result.err;
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  }
  /// Schemes of a file, of four images.
  Json compared(const std::string& yaml, const std::string& flags) const {
    write_file(folder / "schemes.yaml", yaml);
    return evaluated(four_images + "--schemes schemes.yaml --output report " + flags).at("schemes");
  }
  /// One without guidance, of the same.
  Json of_run(const std::string& flags) const {
    return evaluated(four_images + "--scheme none --output other " + flags).at("schemes").at(0);
  }
  Moments moments(const std::string& kind) const {
    const FeatureNetwork by =
        load_features("cifar-resnet:weights=" + (folder / "resnet.safetensors").string());
    std::vector<Tensor> images;
    for (int i = 0; i < 12; ++i) images.push_back(pixels(kind, i, 32));
    return moments_of(by.run(at::stack(images)).pooled);
  }
  const std::string four_images =
      "--model model --reference real --samples 4 --batch 2 --steps 4 --metrics fid --pictures 0 ";
};

TEST_F(EvaluateSets, FiguresAreTheLibrarys) {
  const Json json = evaluated("--images made --reference real --metrics fid,kid,is,pr");
  const double distance = frechet_distance(moments("made"), moments("real"));
  EXPECT_GT(distance, 0);
  EXPECT_NEAR(json.at("fd_r14").get<double>(), distance, 1e-4 * distance);
  EXPECT_EQ(json.at("count"), 12);
  EXPECT_EQ(json.at("reference").at("count"), 12);
  for (const char* key :
       {"kd_mean_r14", "kd_std_r14", "isc_mean_r14", "isc_std_r14", "precision_r14", "recall_r14"})
    EXPECT_TRUE(json.contains(key)) << key;
  EXPECT_FALSE(json.contains("fid")) << "only Inception's is called so";
}

TEST_F(EvaluateSets, VendiNeedsNoReference) {
  const Json json = evaluated("--images made --metrics vendi");
  EXPECT_GE(json.at("vendi_r14").get<double>(), 1);
  EXPECT_LE(json.at("vendi_r14").get<double>(), 12);
}

TEST_F(EvaluateSets, ASetIsNoDistanceFromItself) {
  const Json json = evaluated("--images real --reference real --metrics fid,pr,prdc");
  EXPECT_LT(std::abs(json.at("fd_r14").get<double>()), 1e-6);
  for (const char* key : {"precision_r14", "recall_r14", "coverage_r14"})
    EXPECT_EQ(json.at(key), 1) << key;
}

TEST_F(EvaluateSets, EveryKindOfSetGivesTheSame) {
  const std::string rest = " --reference real --metrics fid";
  const double distance = evaluated("--images made" + rest).at("fd_r14");
  std::vector<Tensor> images;
  for (const int i : {0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9})
    images.push_back(pixels("made", i, 32).permute({1, 2, 0}).contiguous());
  save_npz(folder / "made.npz", {{"arr_0", at::stack(images)}});
  ASSERT_EQ(std::system(("cd '" + folder.string() + "' && tar czf made.tar.gz made").c_str()), 0);
  for (const std::string set : {"made.npz", "made.tar.gz"})
    EXPECT_NEAR(evaluated("--images " + set + rest).at("fd_r14").get<double>(), distance,
                1e-9 * distance)
        << set;
}

TEST_F(EvaluateSets, StatisticsTakeTheImagesPlace) {
  const std::string fid = " --metrics fid";
  const double distance = evaluated("--images made --reference real" + fid).at("fd_r14");
  EXPECT_EQ(evaluate("--images real --save-statistics real.npz").code, 0);
  const Json json = evaluated("--images made --reference real.npz" + fid);
  EXPECT_NEAR(json.at("fd_r14").get<double>(), distance, 1e-9 * distance);
  EXPECT_EQ(json.at("reference").at("kind"), "statistics");
  expect_refused("--images made --reference real.npz --metrics kid", "needs its images", 2);
  save_npz(folder / "narrow.npz",
           {{"mu", at::zeros({3}, at::kDouble)}, {"sigma", at::eye(3, at::kDouble)}});
  expect_refused("--images made --reference narrow.npz", "statistics of 3 features", 1);
}

TEST_F(EvaluateSets, CorruptImagesAreNamedAndCounted) {
  write_file(folder / "made" / "5.png", "no image");
  const Result result = evaluate("--images made --reference real --metrics fid --json out.json");
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_NE(result.err.find("1 images are left out"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("5.png"), std::string::npos) << result.err;
  const Json json = Json::parse(bytes("out.json"));
  EXPECT_EQ(json.at("count"), 11);
  EXPECT_EQ(json.at("skipped"), 1);
  expect_refused("--images made --reference real --strict", "5.png", 1);
}

TEST_F(EvaluateSets, ASmallReferenceLeavesOutWhatNeedsMore) {
  for (int i = 0; i < 4; ++i) make_image("few/" + std::to_string(i) + ".png", "real", i, 32);
  const Json json = evaluated("--images made --reference few");
  EXPECT_TRUE(json.contains("fd_r14"));
  EXPECT_FALSE(json.contains("precision_r14"));
  EXPECT_NE(json.dump().find("of the reference it needs 6 images"), std::string::npos)
      << json.dump();
}

TEST_F(EvaluateSets, SizesMayDiffer) {
  make_image("made/large.png", "large", 0, 64);
  const Json json = evaluated("--images made --reference real --metrics fid");
  EXPECT_EQ(json.at("count"), 13);
}

TEST_F(EvaluateSets, BadRequestsAreOneLine) {
  fs::create_directories(folder / "empty");
  expect_refused("--images empty --reference real", "a folder without an image", 1);
  make_image("one/1.png", "one", 1, 32);
  expect_refused("--images one --reference real", "expected at least 2", 1);
  expect_refused("--images nowhere --reference real", "no such file or folder", 1);
  expect_refused("--images made --reference real --metrics fdi", "Did you mean 'fid'?", 2);
  expect_refused("--images made --metrics fid", "there is no --reference", 2);
  expect_refused("--images made --reference real --metrics sfid", "no spatial features", 2);
  expect_refused("--images made --reference real --resize tf", "--resize: got 'tf'", 2);
  expect_refused("--images made --reference real --scheme none", "--scheme: got it", 2);
  expect_refused("--images made --reference real" + network(), "twice", 2);
  expect_refused("--images resnet.safetensors --reference real", "Expected images", 1);
  expect_refused("--images made --save-statistics made.pt", "ends in .npz", 2);
}

/// The same but for times.
Json lasting(Json results) {
  for (auto& scheme : results.at("schemes"))
    for (const char* key : {"seconds", "peak_memory"}) scheme.erase(key);
  return results;
}

TEST_F(EvaluateSets, SchemesAreComparedAndResumed) {
  const std::string run =
      "--model model --reference real --scheme none --scheme cfg:scale={1.5,3} --samples 10 "
      "--batch 4 --steps 3 --metrics fid,kid --output report --pictures 6";
  const Json first = evaluated(run);
  ASSERT_EQ(first.at("schemes").size(), 3u);
  EXPECT_EQ(first.at("protocol").at("samples"), 10);
  EXPECT_EQ(first.at("protocol").at("prompts"), Json::array());
  const auto distance = [&](int i) { return first.at("schemes").at(i).at("fd_r14").get<double>(); };
  EXPECT_NE(distance(0), distance(1));
  EXPECT_NE(distance(1), distance(2));
  EXPECT_EQ(first.at("schemes").at(0).at("evaluations"), 3);
  EXPECT_EQ(first.at("schemes").at(1).at("evaluations"), 6);
  EXPECT_EQ(Json::parse(bytes("report/results.json")), first);
  for (const char* file : {"report/index.html", "report/results.csv"})
    EXPECT_TRUE(fs::exists(folder / file)) << file;

  std::vector<fs::path> shards;
  for (const auto& entry : fs::recursive_directory_iterator(folder / "report" / "features"))
    if (entry.is_regular_file()) shards.push_back(entry.path());
  EXPECT_EQ(shards.size(), 9u);
  const auto untouched = fs::last_write_time(shards[1]);
  fs::remove(shards[0]);  // As after a kill.
  EXPECT_EQ(lasting(evaluated(run)), lasting(first));
  EXPECT_TRUE(fs::exists(shards[0]));
  EXPECT_EQ(fs::last_write_time(shards[1]), untouched) << "made again";
}

TEST_F(EvaluateSets, SchemesCompareCaches) {
  const Json schemes =
      compared("- guidance: none\n  cache: [none, deepcache:interval=2, first-block]\n",
               "--cache deepcache");
  ASSERT_EQ(schemes.size(), 3u);
  EXPECT_EQ(schemes[1].at("scheme"), "none, deepcache:interval=2");
  const auto flops = [](const Json& scheme) { return scheme.at("flops").get<double>(); };
  EXPECT_LT(flops(schemes[1]), 0.9 * flops(schemes[0]));
  EXPECT_EQ(of_run("--cache deepcache:interval=2").at("fd_r14"), schemes[1].at("fd_r14"));
  EXPECT_EQ(of_run("").at("fd_r14"), schemes[0].at("fd_r14"));
  expect_refused(four_images + "--scheme sag:layers=mid --cache deepcache --output other",
                 "guidance sag", 2);
}

TEST_F(EvaluateSets, SchemesCompareStepsSideBySideWithSequentialOnes) {
  const Json schemes = compared(
      "- guidance: none\n  parallel: [none, 'picard:window=0,tolerance=0', "
      "'picard:window=0,tolerance=100']\n",
      "--parallel taa");
  ASSERT_EQ(schemes.size(), 3u);
  EXPECT_EQ(schemes[1].at("scheme"), "none, picard:window=0,tolerance=0");
  const auto distance = [](const Json& scheme) { return scheme.at("fd_r14").get<double>(); };
  EXPECT_NEAR(distance(schemes[1]), distance(schemes[0]), 1e-3 * distance(schemes[0]));
  EXPECT_GT(std::abs(distance(schemes[2]) / distance(schemes[0]) - 1), 1e-3);
  EXPECT_EQ(schemes[0].at("evaluations"), 4);
  EXPECT_EQ(schemes[0].at("sequential_evaluations"), 4);
  EXPECT_EQ(schemes[1].at("evaluations"), 4 + 3 + 2 + 1);
  // The way to the last point has no noise to measure its change by.
  EXPECT_EQ(schemes[2].at("evaluations"), 4 + 1);
  EXPECT_EQ(schemes[2].at("sequential_evaluations"), 2);
  EXPECT_EQ(of_run("--parallel picard:window=0,tolerance=100").at("fd_r14"),
            schemes[2].at("fd_r14"));
  EXPECT_EQ(of_run("").at("fd_r14"), schemes[0].at("fd_r14"));
  expect_refused(four_images + "--scheme none --parallel branches --output other", "picard", 2);
  expect_refused(four_images + "--scheme none --parallel taa --cache deepcache --output other",
                 "--parallel", 2);
  expect_refused(four_images + "--scheme none --sampler dpm++2m --parallel taa --output other",
                 "dpm++2m", 2);
}

/// As many images at once as `generate` takes where each takes so many steps at once.
TEST_F(EvaluateSets, BatchesAreReckonedByTheWidestWindow) {
  const auto batch = [&](const std::string& yaml, const std::string& flags) {
    write_file(folder / "schemes.yaml", yaml);
    return evaluated(
               "--model model --reference real --samples 2 --steps 4 --metrics fid --pictures 0 "
               "--schemes schemes.yaml --output " +
               flags)
        .at("protocol")
        .at("batch")
        .get<int64_t>();
  };
  const std::string plain = "- guidance: none\n";
  const int64_t usual = batch(plain, "a");
  EXPECT_EQ(batch(plain, "b --parallel picard:window=4"), usual / 4);
  EXPECT_EQ(batch(plain + "- guidance: none\n  parallel: 'picard:window=2'\n", "c"), usual / 2);
}

TEST_F(EvaluateSets, AnotherNumberOfSamplesGivesItsOwnFigures) {
  const std::string run =
      "--model model --reference real --scheme none --batch 4 --steps 2 --metrics fid --pictures "
      "0 ";
  const Json ten = lasting(evaluated(run + "--samples 10 --output grown"));
  const Json twelve = lasting(evaluated(run + "--samples 12 --output alone"));
  EXPECT_NE(ten, twelve);
  EXPECT_EQ(lasting(evaluated(run + "--samples 12 --output grown")), twelve);
  EXPECT_EQ(lasting(evaluated(run + "--samples 10 --output grown")), ten);
}

TEST_F(EvaluateSets, DamagedBatchesAndWhatIsAskedForLaterAreMade) {
  const std::string run =
      "--model model --reference real --scheme none --samples 8 --batch 4 --steps 2 --metrics fid "
      "--output report ";
  const Json first = lasting(evaluated(run + "--pictures 1"));
  for (const auto& entry : fs::recursive_directory_iterator(folder / "report" / "features"))
    if (entry.is_regular_file()) fs::resize_file(entry.path(), fs::file_size(entry.path()) - 9);
  Json kept_too = lasting(evaluated(run + "--pictures 4 --keep-images"));
  const std::string images = kept_too.at("schemes").at(0).at("images");
  EXPECT_TRUE(fs::exists(folder / "report" / images / "000000.png")) << images;
  kept_too.at("schemes").at(0).erase("images");
  EXPECT_EQ(kept_too, first);
  size_t kept = 0, strips = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder / "report" / "images"))
    kept += entry.path().extension() == ".png";
  for (const auto& entry : fs::directory_iterator(folder / "report" / "pictures"))
    strips += entry.path().extension() == ".png";
  EXPECT_EQ(kept, 8u);
  EXPECT_EQ(strips, 2u) << "one and four pictures are two strips";
}

TEST_F(EvaluateSets, AFullDiskEndsTheRunAndLosesNothing) {
  const std::string run =
      "--model model --reference real --scheme none --scheme cfg:scale=2 --samples 8 --batch 4 "
      "--steps 2 --metrics fid --pictures 0 ";
  const Result full =
      on_full_disk(folder, 16, "evaluate --quiet --output report " + run + network());
  EXPECT_EQ(full.code, 1);
  EXPECT_NE(full.err.find("can't be written"), std::string::npos) << full.err;
  EXPECT_EQ(std::count(full.err.begin(), full.err.end(), '\n'), 1) << full.err;
  EXPECT_EQ(lasting(evaluated(run + "--output report")),
            lasting(evaluated(run + "--output whole")));
}

TEST_F(EvaluateSets, APlaceThatCantBeWrittenEndsTheRun) {
  fs::create_directories(folder / "report");
  write_file(folder / "report" / "features", "no folder");
  expect_refused(
      "--model model --reference real --scheme none --scheme cfg:scale=2 --samples 4 --steps 2 "
      "--output report",
      "features", 1);
  EXPECT_FALSE(fs::exists(folder / "report" / "results.json"));
}

TEST_F(EvaluateSets, WhatCantBeIsSaidBeforeTheReferenceIsRead) {
  expect_refused("--images made --reference missing --metrics sfid", "gives no spatial features",
                 2);
  write_file(folder / "file", "");
  expect_refused("--model model --reference missing --scheme none --output file",
                 "--output: got the file file, expected a folder", 1);
  expect_refused("--images made --json", "--json: got no value, expected FILE", 2);
}

TEST_F(EvaluateSets, AFewReferencesAreNoted) {
  const Json json = evaluated("--images made --reference real --metrics fid");
  EXPECT_NE(json.at("notes").dump().find("The reference has "), std::string::npos);
  EXPECT_EQ(evaluated("--images made --metrics is").at("notes").dump().find("The reference has "),
            std::string::npos);
}

TEST_F(EvaluateSets, ReferencesThatAreLeftOutAreNamed) {
  write_file(folder / "real" / "3.png", "no image");
  for (const std::string run :
       {"--images made ", "--model model --scheme none --samples 4 --steps 2 --output report "}) {
    const Json json = evaluated(run + "--reference real --metrics fid");
    EXPECT_NE(json.at("notes").dump().find("Of the reference 1 images are left out"),
              std::string::npos)
        << json.at("notes");
  }
}

/// As the shell starts a process of several.
std::string with_rank(int rank, int world, int port) {
  return " RANK=" + std::to_string(rank) + " WORLD_SIZE=" + std::to_string(world) +
         " MASTER_ADDR=127.0.0.1 MASTER_PORT=" + std::to_string(port) +
         " OMP_NUM_THREADS=1 '" TILLER_PROGRAM "' evaluate --quiet";
}

TEST_F(EvaluateSets, AProcessThatFailsIsNotWaitedFor) {
  const std::string run = network() +
                          "--model model --reference real --scheme none --samples 12 --batch 2 "
                          "--steps 2 --metrics fid --pictures 0 --output ";
  write_file(folder / "closed", "no folder");
  const int port = meeting_port(5);
  const std::string command = "cd '" + folder.string() + "';" + with_rank(1, 2, port) + run +
                              "closed > out1 2>&1 &" + with_rank(0, 2, port) + run +
                              "report > out0 2>&1; code=$?; wait; exit $code";
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 1);
  EXPECT_NE(bytes("out0").find("process 1 failed"), std::string::npos) << bytes("out0");
  EXPECT_NE(bytes("out1").find("closed"), std::string::npos) << bytes("out1");
}

TEST_F(EvaluateSets, ProcessesShareTheWork) {
  const std::string run =
      "--model model --reference real --scheme none --scheme cfg:scale=2 --samples 12 --batch 2 "
      "--steps 2 --metrics fid,kid --pictures 2 --output ";
  const Json alone = lasting(evaluated(run + "alone"));
  for (const int world : {2, 4}) {
    const std::string together = "together" + std::to_string(world);
    // As torchrun leaves them, but for its agent.
    std::string command =
        "cd '" + folder.string() +
        "' && export OMP_NUM_THREADS=1 WORLD_SIZE=" + std::to_string(world) +
        " MASTER_ADDR=127.0.0.1 MASTER_PORT=" + std::to_string(meeting_port(world)) + ";";
    for (int rank = world - 1; rank >= 0; --rank)
      command += " RANK=" + std::to_string(rank) + " '" + TILLER_PROGRAM + "' evaluate --quiet" +
                 network() + run + together + " > out" + std::to_string(rank) + " 2>&1 &";
    ASSERT_EQ(std::system((command + " wait").c_str()), 0);
    EXPECT_EQ(lasting(Json::parse(bytes(together + "/results.json"))), alone) << bytes("out0");
    for (int rank = 1; rank < world; ++rank) EXPECT_EQ(bytes("out" + std::to_string(rank)), "");
  }
}

/// As on machines that share no folder: each process's report is its own.
TEST_F(EvaluateSets, ProcessesOfOtherFoldersBringTheirBatches) {
  const std::string run = network() +
                          "--model model --reference real --scheme none --scheme cfg:scale=2 "
                          "--samples 12 --batch 2 --steps 2 --metrics fid,kid --pictures 2 "
                          "--output ";
  const Json alone = lasting(evaluated(run.substr(network().size()) + "alone"));
  const auto together = [&](int attempt) {
    const int port = meeting_port(50 + attempt);
    const std::string command = "cd '" + folder.string() + "';" + with_rank(1, 2, port) + run +
                                "there > out1 2>&1 &" + with_rank(0, 2, port) + run +
                                "here > out0 2>&1; code=$?; wait; exit $code";
    return WEXITSTATUS(std::system(command.c_str()));
  };
  ASSERT_EQ(together(1), 0) << bytes("out0");
  EXPECT_EQ(lasting(Json::parse(bytes("here/results.json"))), alone) << bytes("out0");
  EXPECT_FALSE(fs::exists(folder / "there" / "results.json"));
  // What the first process lost, another brings or makes.
  std::vector<fs::path> lost;
  for (const auto& file : fs::recursive_directory_iterator(folder / "here" / "features"))
    if (file.is_regular_file() && file.path().filename() > "000000004") lost.push_back(file.path());
  for (const auto& file : lost) fs::remove(file);
  ASSERT_EQ(together(2), 0) << bytes("out0");
  EXPECT_EQ(lasting(Json::parse(bytes("here/results.json"))), alone) << bytes("out0");
}

TEST_F(EvaluateSets, ImpossibleSchemesAreRefusedBeforeAnyWork) {
  const std::string run = "--model model --reference real --samples 4 --steps 2 --output report ";
  expect_refused(run + "--scheme none --scheme cgf:scale=2", "Did you mean 'cfg'?", 2);
  expect_refused(run + "--scheme tpg:layers=d99", "d99", 2);
  expect_refused(run + "--scheme nag", "", 2);
  write_file(folder / "usual.yaml", "- guidance: none\n  steps: [2]\n");
  expect_refused(run + "--scheme none --schemes usual.yaml", "the same by other words", 2);
  expect_refused(
      "--model model --reference real --samples 4 --steps 600 --sampler bdia:gamma=0.9375 "
      "--scheme none --output report",
      "steps: got 600", 2);
  expect_refused("--model model --reference real --scheme none", "--output: got none", 2);
  expect_refused("--model model --scheme none --metrics fid --samples 4 --output report",
                 "there is no --reference", 2);
  EXPECT_FALSE(fs::exists(folder / "report" / "features"));
}

TEST_F(Pipelines, SchemesOfPromptsHaveAClipScore) {
  make_pipeline("sd1");
  const Json clip = test::fixture("reconstruction.json").at("clip");
  write("clip/config.json", clip.at("config").dump());
  make_tokenizer("clip", "<|endoftext|>");
  NamedTensors tensors;
  for (const auto& [name, shape] : clip.at("shapes").items())
    tensors.emplace_back(name, formula_weight(name, shape.get<std::vector<int64_t>>()));
  tensors.emplace_back("logit_scale", at::scalar_tensor(4.6, at::kFloat));
  save_safetensors(folder / "clip/model.safetensors", tensors);
  for (const char* name : {"real/1.png", "real/2.png", "real/3.png"}) {
    fs::create_directories(folder / "real");
    write_png(folder / name, (formula_tensor(name, {3, 64, 64}) * 100 + 128).to(at::kByte));
  }
  const Result result = tiller(
      "evaluate --quiet --model sd1 --prompt 'a cat' --prompt 'a dog' --reference real --clip "
      "clip "
      "--scheme none --scheme cfg:scale=3 --samples 3 --batch 2 --steps 2 --size 64 --pictures 0 "
      "--features efficientnet-lite0:size=64 --metrics fid --output report --json -");
  if (result.err.find("EfficientNet-Lite0's weights") != std::string::npos)
    GTEST_SKIP() << "set-up fetched no EfficientNet-Lite0";
  ASSERT_EQ(result.code, 0) << result.err;
  const Json schemes = Json::parse(result.out).at("schemes");
  for (const Json& scheme : schemes) {
    EXPECT_TRUE(scheme.at("clip_score").is_number()) << scheme;
    EXPECT_TRUE(scheme.at("fd_efflite0").is_number());
  }
  EXPECT_NE(schemes.at(0).at("clip_score"), schemes.at(1).at("clip_score"));
}

}  // namespace
}  // namespace tiller::test
