#include "tests/tools/full_disk.h"

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
