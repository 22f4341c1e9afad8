#include "models/products.h"
#include "tests/tools/full_disk.h"
#include "tests/tools/pipelines.h"
#include "tests/tools/resnet_weights.h"

namespace tiller::test {
namespace {

class Train : public ProgramTest {
 protected:
  void make_images() {
    auto generator = at::detail::createCPUGenerator(3);
    for (const char* name : {"ant", "bee"})
      for (const char* file : {"0.png", "1.png"}) {
        fs::create_directories(folder / "data" / name);
        write_png(folder / "data" / name / file,
                  at::randint(0, 256, {3, 16, 16}, generator, at::TensorOptions(at::kByte)));
      }
    Json config = tiny_config();
    for (const char* key : {"num_classes", "class_names", "learn_sigma"}) config.erase(key);
    write_file(folder / "config.json", config.dump());
  }
};

TEST_F(Train, WhatItWritesIsAModel) {
  make_images();
  const std::string command =
      "train --quiet --data data --model-config config.json --output run --batch 2 --sample-every "
      "0 "
      "--log-every 1 ";
  Result result = tiller(command + "--steps 2");
  ASSERT_EQ(result.code, 0) << result.err;
  const Json model = Json::parse(tiller("info run --json").out);
  EXPECT_EQ(model.at("class_names"), Json({"ant", "bee"}));
  result =
      tiller("generate --quiet --model run --steps 2 --class bee --guidance cfg --output a.png");
  EXPECT_EQ(result.code, 0) << result.err;
  const std::string log = bytes("run/log.jsonl");
  ASSERT_EQ(tiller(command + "--steps 3").code, 0);
  EXPECT_TRUE(bytes("run/log.jsonl").starts_with(log));
  EXPECT_NE(bytes("run/log.jsonl"), log);
}

/// What the message advises can be done.
TEST_F(Train, AfterALossThatIsntFiniteALowerRateGoesOn) {
  make_images();
  const std::string command =
      "train --quiet --data data --model-config config.json --output run --batch 2 --warmup 0 "
      "--weight-decay 10 --sample-every 0 ";
  must(command + "--lr 1e-3 --steps 1");
  const std::string model = bytes("run/model.safetensors"), state = bytes("run/state.safetensors");
  const Result failed = tiller(command + "--lr 10 --steps 100");
  EXPECT_EQ(failed.code, 1);
  EXPECT_TRUE(
      failed.err.starts_with("train: from step 1 on with lr 10.0 (it was 0.001).\n"
                             "tiller: train: got a "))
      << failed.err;
  EXPECT_TRUE(failed.err.ends_with("Lower --lr; run holds the last good state.\n")) << failed.err;
  EXPECT_EQ(std::count(failed.err.begin(), failed.err.end(), '\n'), 2) << failed.err;
  EXPECT_TRUE(bytes("run/model.safetensors") == model);
  EXPECT_TRUE(bytes("run/state.safetensors") == state);
  EXPECT_EQ(must(command + "--lr 1e-4 --steps 3").err,
            "train: from step 1 on with lr 0.0001 (it was 0.001).\n");
  EXPECT_FALSE(bytes("run/model.safetensors") == model);
}

TEST_F(Train, JsonTellsWhatCameOfIt) {
  make_images();
  const std::string command =
      "train --json --data data --model-config config.json --output run --batch 2 --sample-every 0 "
      "--log-every 2 ";
  const Json result = Json::parse(must(command + "--steps 3").out);
  EXPECT_EQ(result.at("output"), "run");
  EXPECT_EQ(result.at("steps"), 3);
  EXPECT_EQ(result.at("log"), Json::parse(bytes("run/log.jsonl")));
  EXPECT_EQ(result.at("log").at("step"), 2);
  EXPECT_FALSE(result.contains("distance"));
  EXPECT_EQ(Json::parse(must(command + "--steps 3").out), result) << "where nothing was left to do";
}

TEST_F(Train, SaysWhereBfloat16IsFloat32) {
  make_images();
  const std::string command =
      "train --device cpu --bf16 --data data --model-config config.json --output run --batch 2 "
      "--sample-every 0 ";
  const auto told = [](const Result& result) {
    return result.err.find("--bf16: ") != std::string::npos;
  };
  EXPECT_EQ(told(must(command + "--steps 1")), is_widened(at::kBFloat16));
  EXPECT_FALSE(told(must(command + "--steps 2 --quiet")));
}

/// Its advice is of flags that there are.
TEST_F(Train, OutOfMemoryItNamesItsOwnFlags) {
  make_images();
  const std::string command = "cd '" + folder.string() +
                              "' && ulimit -v 3000000 && OMP_NUM_THREADS=1 '" TILLER_PROGRAM
                              "' train --device cpu --quiet --data data --model-config config.json "
                              "--output run --batch 1000000 --steps 1 2>.error";
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 1);
  EXPECT_EQ(bytes(".error"),
            "tiller: out of memory: lower --microbatch, or try --bf16 and (but of autoencoders) "
            "--gradient-checkpointing.\n");
  EXPECT_EQ(tiller("train --help-all").out.find("--low-memory"), std::string::npos);
}

TEST_F(Train, AFullDiskLeavesTheLastState) {
  make_images();
  const std::string command =
      "train --quiet --data data --model-config config.json --output run --batch 2 --sample-every "
      "0 --save-every 1 ";
  ASSERT_EQ(tiller(command + "--steps 2").code, 0);
  const std::string model = bytes("run/model.safetensors"), state = bytes("run/state.safetensors");
  const Result full = on_full_disk(folder, 64, command + "--steps 4");
  EXPECT_EQ(full.code, 1);
  EXPECT_NE(full.err.find("can't be written"), std::string::npos) << full.err;
  EXPECT_EQ(std::count(full.err.begin(), full.err.end(), '\n'), 1) << full.err;
  EXPECT_EQ(bytes("run/model.safetensors"), model);
  EXPECT_EQ(bytes("run/state.safetensors"), state);
  EXPECT_EQ(tiller(command + "--steps 4").code, 0);
}

/// The distance is evaluate's, in the log, on the page and at resume; the best model is kept.
TEST_F(Train, DistancesAreMeasuredWhileItGoesOn) {
  make_images();
  save_random_resnet(folder / "resnet.safetensors");
  const std::string features = " --features cifar-resnet:weights=resnet.safetensors";
  const std::string command =
      "train --data data --model-config config.json --output run --batch 2 --lr 0.01 --warmup 0 "
      "--ema 0.5 --sample-every 0 --log-every 4 --fd-every 2 --fd-samples 4 --fd-steps "
      "2" +
      features;
  Result result = tiller(command + " --steps 5");
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_NE(result.err.find("reference 4/4"), std::string::npos) << result.err;
  std::map<int64_t, double> distances;
  const auto read = [&] {
    std::istringstream lines(bytes("run/log.jsonl"));
    for (std::string line; std::getline(lines, line);)
      if (const Json json = Json::parse(line); json.contains("fd_r14"))
        distances[json.at("step").get<int64_t>()] = json.at("fd_r14").get<double>();
  };
  read();
  ASSERT_EQ(distances.size(), 3u) << bytes("run/log.jsonl");
  result = tiller(
      "evaluate --quiet --model run --reference data --scheme none --samples 4 --steps 2 "
      "--batch 4 --metrics fid --output report --json -" +
      features);
  ASSERT_EQ(result.code, 0) << result.err;
  const double evaluated = Json::parse(result.out).at("schemes").at(0).at("fd_r14").get<double>();
  EXPECT_NEAR(distances.at(5), evaluated, 1e-5 * evaluated);
  EXPECT_EQ(bytes("run/best/model.safetensors") == bytes("run/model.safetensors"),
            distances.at(5) < std::min(distances.at(2), distances.at(4)));
  EXPECT_NE(bytes("run/index.html").find("fd_r14"), std::string::npos);
  result = tiller(command + " --steps 6");
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(result.err.find("reference"), std::string::npos) << "it is kept: " << result.err;
  read();
  EXPECT_EQ(distances.size(), 4u);
  EXPECT_NE(tiller("train --data data --model-config config.json --output other --fd-steps 3")
                .err.find("without --fd-every"),
            std::string::npos);
}

TEST_F(Train, SchedulesMayEndInPureNoise) {
  make_images();
  Json config = Json::parse(bytes("config.json"));
  config.update({{"noise_schedule", "sigmoid"}, {"zero_terminal_snr", true}});
  write_file(folder / "config.json", config.dump());
  const std::string command =
      "train --quiet --data data --model-config config.json --output run --batch 4 --steps 3 "
      "--sample-every 0 --log-every 1 ";
  const Result refused = tiller(command);
  EXPECT_EQ(refused.code, 1);
  EXPECT_NE(refused.err.find("an epsilon says nothing of pure noise"), std::string::npos)
      << refused.err;
  config["prediction_type"] = "v_prediction";
  write_file(folder / "config.json", config.dump());
  const Result trained = tiller(command + "--min-snr 5");
  ASSERT_EQ(trained.code, 0) << trained.err;
  const Result made = tiller("generate --quiet --model run --steps 3 --output a.png");
  EXPECT_EQ(made.code, 0) << made.err;
}

TEST_F(Train, RefusesWhatItCantUse) {
  EXPECT_EQ(tiller("train").code, 2);
  EXPECT_EQ(tiller("train --data data --output run").code, 2);
  EXPECT_EQ(tiller("train --data data --output run --model-config nowhere.json").code, 1);
  EXPECT_EQ(tiller("train --data data --output run --model-config model/config.json --lr x").code,
            2);
  EXPECT_FALSE(fs::exists(folder / "run"));
}

}  // namespace
}  // namespace tiller::test
