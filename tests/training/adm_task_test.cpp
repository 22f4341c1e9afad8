#include "models/model.h"
#include "samplers/defaults.h"
#include "tests/training/training_runs.h"

namespace tiller::test {
namespace {

class AdmTraining : public TrainingRuns {
 protected:
  AdmTraining() {
    for (int i = 0; i < 6; ++i)
      write("data/" + std::to_string(i % 2) + "/" + std::to_string(i) + ".png",
            png(40 * i, 250 - 40 * i, 10));
  }

  TrainOptions options(const std::string& output, const std::string& type = "epsilon") const {
    TrainOptions options = short_run(output);
    options.config = {
        {"image_size", 8},     {"num_channels", 32},      {"num_res_blocks", 1},
        {"channel_mult", "1"}, {"class_cond", true},      {"null_label", true},
        {"num_heads", 2},      {"prediction_type", type}, {"attention_resolutions", "8"}};
    return options;
  }

  std::string refusal(const TrainOptions& options) const {
    try {
      train_to(1, options);
    } catch (const Error& error) {
      EXPECT_FALSE(fs::exists(options.output)) << error.what();
      return error.what();
    }
    return "";
  }
};

/// As heun takes it by default.
std::string dimensions_of(const fs::path& folder) {
  const Model model = load_model(folder);
  for (const Option& option : usual_options(model, find_sampler("heun")))
    if (option.name == "pfgmpp") return option.value;
  return "";
}

/// From the flag, or from a config such as it writes.
TEST_F(AdmTraining, AModelKnowsItsPfgmppDimensions) {
  TrainOptions flag = options("flag", "edm"), config = options("config", "edm");
  flag.ema = config.ema = {averaging_from("0.5")};
  flag.augmented = 8;
  train_to(1, flag);
  EXPECT_EQ(Json::parse(read_file(root / "flag" / "config.json")).at("pfgmpp"), 8);
  EXPECT_EQ(dimensions_of(root / "flag"), "8");
  config.config["pfgmpp"] = 8;
  train_to(1, config);
  EXPECT_EQ(dimensions_of(root / "config"), "8");
  EXPECT_EQ(read_file(root / "flag" / "model.safetensors"),
            read_file(root / "config" / "model.safetensors"))
      << "the config's weren't trained on";
  train_to(1, options("edm", "edm"));
  EXPECT_FALSE(Json::parse(read_file(root / "edm" / "config.json")).contains("pfgmpp"));
  EXPECT_EQ(dimensions_of(root / "edm"), "0");
}

TEST_F(AdmTraining, RefusesPfgmppDimensionsThatNoSamplerTakes) {
  TrainOptions run = options("run", "edm");
  run.augmented = 10'000'001;
  EXPECT_EQ(refusal(run), "--pfgmpp: got 10000001, expected a whole number from 1 to 10000000.");
  run.config["pfgmpp"] = 8;
  run.augmented = 16;
  EXPECT_EQ(refusal(run), "--pfgmpp: got 16, expected the 8 of config.json.");
}

TEST_F(AdmTraining, RefusesGuidanceBeforeItTrains) {
  TrainOptions run = options("run");
  run.sample_guidance = "cgf:scale=2";
  EXPECT_TRUE(refusal(run).starts_with("--sample-guidance: guidance: got 'cgf'")) << refusal(run);
  run.sample_guidance = "cfg:scale=2";
  run.config.erase("null_label");
  EXPECT_TRUE(
      refusal(run).starts_with("--sample-guidance: guidance cfg: got a model that was "
                               "trained without label dropout"))
      << refusal(run);
}

TEST_F(AdmTraining, RefusesASizeThatTheNetworkCantHalve) {
  TrainOptions run = options("run");
  run.config["image_size"] = 9;
  run.config["channel_mult"] = "1,1,1";
  run.data = "nowhere";  // and says so before it looks for data
  EXPECT_EQ(refusal(run),
            "config.json: image_size: got 9, expected a multiple of 4, which the network can halve "
            "down to its end.");
  run = options("odd");
  run.config["image_size"] = 9;
  EXPECT_EQ(refusal(run), "");
}

TEST_F(AdmTraining, SaysWhichKeysItIgnores) {
  TrainOptions run = options("run");
  run.config.update(
      {{"lr", 1e-3}, {"input_pertub", 0.2}, {"use_kl", "False"}, {"timestep_respacing", "ddim50"}});
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(refusal(run), "");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(),
            "train: config.json: input_pertub, lr and timestep_respacing are ignored: what isn't "
            "the network's is said "
            "by flags of train.\n");
  const Json saved = Json::parse(read_file(root / "run" / "config.json"));
  for (const char* key : {"lr", "input_pertub", "use_kl", "timestep_respacing"})
    EXPECT_FALSE(saved.contains(key)) << key;
  EXPECT_EQ(saved.at("num_channels"), 32);
  run = options("kl");
  for (const Json& yes : {Json(true), Json("True"), Json(1)}) {
    run.config["use_kl"] = yes;
    EXPECT_TRUE(
        refusal(run).starts_with("config.json: use_kl: got " + yes.dump() + ", expected false"));
  }
}

/// Names of files may be any bytes, a config.json's text may not.
TEST_F(AdmTraining, AClassFolderNeedntBeUtf8) {
  write("bytes/caf\xe9/0.png", png(10));
  write("bytes/tea/0.png", png(200));
  TrainOptions run = options("run");
  run.data = root / "bytes";
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(refusal(run), "");
  EXPECT_NE(
      ::testing::internal::GetCapturedStderr().find("not all names of class folders are UTF-8"),
      std::string::npos);
  const std::vector<std::string> names = {"caf\xef\xbf\xbd", "tea"};
  EXPECT_EQ(load_model(root / "run").class_names, names);
  TrainOptions again = options("again");
  again.data = run.data;
  again.config = Json::parse(read_file(root / "run" / "config.json"));
  EXPECT_EQ(refusal(again), "") << "its config is that of the same data";
}

TEST_F(AdmTraining, SaysThatNoLabelIsDroppedWithoutANullLabel) {
  const auto says = [&](const std::string& output, bool null_label, double dropout) {
    TrainOptions run = options(output);
    run.config["null_label"] = null_label;
    run.label_dropout = dropout;
    run.label_dropout_given = true;
    ::testing::internal::CaptureStderr();
    EXPECT_EQ(refusal(run), "");
    const std::string said = ::testing::internal::GetCapturedStderr();
    return said.find("--label-dropout drops nothing") != std::string::npos;
  };
  EXPECT_TRUE(says("without", false, 0.1));
  EXPECT_FALSE(says("with", true, 0.1));
  EXPECT_FALSE(says("none", false, 0));
}

}  // namespace
}  // namespace tiller::test
