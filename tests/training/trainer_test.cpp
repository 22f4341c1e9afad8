#include "training/trainer.h"

#include <ATen/ATen.h>
#include <signal.h>
#include <sys/wait.h>

#include <set>
#include <thread>

#include "io/safetensors.h"
#include "models/model.h"
#include "tests/training/training_runs.h"

namespace tiller::test {
namespace {

const std::vector<std::string> kFiles = {"model.safetensors", "config.json"};

class Training : public TrainingRuns {
 protected:
  /// CIFAR-10 records: twelve plain images, labels 0 to 2.
  fs::path data() const {
    std::string bytes;
    for (int i = 0; i < 12; ++i) {
      bytes += static_cast<char>(i % 3);
      for (const int value : {20 * i, 250 - 20 * i, 40 * (i % 3)})
        bytes.append(1024, static_cast<char>(value));
    }
    write("data/batches.meta.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n");
    return write("data/data_batch_1.bin", bytes).parent_path();
  }

  TrainOptions options(const std::string& output) const {
    TrainOptions options;
    options.data = data();
    options.output = root / output;
    options.config_file = "config.json";
    options.config = {{"image_size", 8},     {"num_channels", 32},
                      {"num_res_blocks", 1}, {"channel_mult", "1"},
                      {"num_heads", 2},      {"attention_resolutions", "8"},
                      {"class_cond", true},  {"null_label", true},
                      {"dropout", 0.3},      {"noise_schedule", "cosine"}};
    options.batch = 5;
    options.warmup = 4;
    options.learning_rate = 1e-3;
    options.weight_decay = 0.01;
    options.log_every = 4;
    options.save_every = 3;
    options.sample_every = 0;
    options.seed = 11;
    return options;
  }

  /// Trains in another process, which gets the signal when it has logged `lines` lines. Returns
  /// its wait status.
  int train_until_signal(const TrainOptions& options, int64_t lines, int signal) const {
    const pid_t child = ::fork();
    if (child == 0) {
      train(options);
      ::_exit(0);
    }
    const auto logged = [&] {
      std::ifstream file(options.output / "log.jsonl");
      return std::count(std::istreambuf_iterator<char>(file), {}, '\n');
    };
    int status = 0;
    while (::waitpid(child, &status, WNOHANG) == 0) {
      if (logged() >= lines) {
        ::kill(child, signal);
        ::waitpid(child, &status, 0);
        break;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return status;
  }
};

TEST_F(Training, ResumesExactly) { expect_exact_resume(options("whole"), kFiles); }

TEST_F(Training, ResumesExactlyInBfloat16) {
  TrainOptions whole = options("whole");
  whole.autocast = TrainOptions::Autocast::bfloat16;
  whole.log_every = 1;
  expect_exact_resume(whole, kFiles);
}

/// The signal comes at whatever moment.
TEST_F(Training, ResumesAfterASignal) {
  TrainOptions whole = options("whole");
  whole.steps = 80;
  whole.log_every = 1;
  train(whole);
  for (const int signal : {SIGKILL, SIGTERM}) {
    TrainOptions cut = whole;
    const std::string name = "cut-" + std::to_string(signal);
    cut.output = root / name;
    if (signal == SIGTERM) cut.save_every = 1000;
    const int status = train_until_signal(cut, 5, signal);
    if (signal == SIGKILL) {
      ASSERT_TRUE(WIFSIGNALED(status));
    } else {
      ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
      EXPECT_TRUE(fs::exists(cut.output / "model.safetensors"));
    }
    ASSERT_LT(log_of(name).size(), log_of("whole").size());
    train(cut);
    expect_same_run("whole", name, kFiles);
  }
}

TEST_F(Training, LearnsPlainColours) {
  TrainOptions easy = options("easy");
  easy.config["dropout"] = 0.0;
  easy.batch = 12;
  easy.log_every = 20;
  easy.save_every = 1000;
  easy.learning_rate = 3e-3;
  easy.input_perturbation = 0;
  train_to(160, easy);
  const auto log = log_of("easy");
  ASSERT_EQ(log.size(), 8u);
  EXPECT_LT(log.back().at("loss").get<double>(), 0.4 * log.front().at("loss").get<double>());
}

/// The classes are the data's: ten names, of which three occur.
TEST_F(Training, LogsTheLastStepOfAShortRun) {
  TrainOptions run = options("short");
  run.log_every = 50;
  train_to(2, run);
  ASSERT_EQ(log_of("short").size(), 1u);
  EXPECT_EQ(log_of("short").front().at("step"), 2);
}

TEST_F(Training, WritesAModelWithTheDatasClasses) {
  train_to(2, options("run"));
  const Json config = Json::parse(read_file(root / "run" / "config.json"));
  EXPECT_EQ(config.at("num_classes"), 10);
  EXPECT_EQ(config.at("class_names").at(9), "j");
  const Model model = load_model(root / "run");
  EXPECT_EQ(model.classes, 10);
  EXPECT_TRUE(model.null_label);
  EXPECT_EQ(model.class_names.size(), 10u);
}

/// Another number of classes than the data has names: the names are left out, and the model loads.
TEST_F(Training, SamplesARowForEachClass) {
  TrainOptions run = options("run");
  run.config["num_classes"] = 3;
  run.sample_every = 2;
  run.sample_guidance = "cfg:scale=2";
  train_to(2, run);
  const Model model = load_model(root / "run");
  EXPECT_EQ(model.classes, 3);
  EXPECT_TRUE(model.class_names.empty());
  const Tensor samples = read_image(root / "run" / "samples" / "step-2.png");
  EXPECT_GE(samples.size(1), 3 * 8);
  EXPECT_GE(samples.size(2), 8 * 8);
}

TEST_F(Training, RefusesAnotherRunsFolder) {
  train_to(1, options("run"));
  TrainOptions other = options("run");
  other.input_perturbation = 0.2;
  try {
    train_to(2, other);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("input_perturbation: got 0.1, expected 0.2."),
              std::string::npos)
        << error.what();
  }
}

TEST_F(Training, GoesOnWithAnotherRate) {
  TrainOptions run = options("run");
  const auto said = [&](int64_t steps) {
    ::testing::internal::CaptureStderr();
    train_to(steps, run);
    const std::string all = ::testing::internal::GetCapturedStderr();
    const size_t at = all.find("train: from step");
    return at == all.npos ? "" : all.substr(at);
  };
  run.log_every = 1;
  EXPECT_EQ(said(5), "");
  EXPECT_EQ(said(6), "");
  run.learning_rate = 5e-4, run.weight_decay = 0, run.clip = 2, run.warmup = 0;
  EXPECT_EQ(
      said(7),
      "train: from step 6 on with lr 0.0005 (it was 0.001), warmup 0 (it was 4), weight_decay "
      "0.0 (it was 0.01) and clip 2.0 (it was 1.0).\n");
  EXPECT_EQ(log_of("run").back().at("learning_rate"), 5e-4);
  EXPECT_EQ(said(8), "");
}

TEST_F(Training, SaysThatTheImagesAreOthers) {
  TrainOptions run = options("run");
  train_to(1, run);
  const std::string bytes = read_file(run.data / "data_batch_1.bin");
  run.data = write("more/data_batch_1.bin", bytes + bytes.substr(0, 3073)).parent_path();
  write("more/batches.meta.txt", read_file(root / "data/batches.meta.txt"));
  for (const int64_t steps : {2, 3}) {
    ::testing::internal::CaptureStderr();
    train_to(steps, run);
    EXPECT_EQ(::testing::internal::GetCapturedStderr().find("with other images than before") !=
                  std::string::npos,
              steps == 2);
  }
}

/// A line's two steps see ten images, between two measurements of half a second.
TEST_F(Training, MeasuringIsntTraining) {
  TrainOptions run = options("run");
  run.log_every = 2;
  run.distance = {"fd", 1, [](const fs::path&) {
                    std::this_thread::sleep_for(std::chrono::milliseconds(500));
                    return 1.0;
                  }};
  train_to(4, run);
  std::ifstream file(run.output / "log.jsonl");
  int lines = 0;
  for (std::string line; std::getline(file, line);)
    if (const Json json = Json::parse(line); json.contains("images_per_second") && ++lines == 2) {
      EXPECT_GT(json.at("images_per_second").get<double>(), 10 / (2 * 0.5));
    }
  EXPECT_EQ(lines, 2);
}

TEST_F(Training, RefusesConfigsThatDontFit) {
  TrainOptions run = options("run");
  run.config["num_classes"] = 2;
  EXPECT_THROW(train_to(1, run), UsageError);
  run.config["num_classes"] = 3;
  run.config["prediction_type"] = "edm";
  run.config["learn_sigma"] = true;
  EXPECT_THROW(train_to(1, run), UsageError);
  run.config["learn_sigma"] = false;
  run.min_snr = 5;
  EXPECT_THROW(train_to(1, run), UsageError);
  run.config["prediction_type"] = "flow";
  EXPECT_THROW(train_to(1, run), UsageError);
  run.min_snr = 0, run.augmented = 128;
  EXPECT_THROW(train_to(1, run), UsageError);
  EXPECT_FALSE(fs::exists(run.output));
}

/// Every objective learns, and what it saves draws.
TEST_F(Training, TeachesEveryPrediction) {
  for (const std::string type :
       {"epsilon", "v_prediction", "sample", "flow", "rectified_flow", "edm"}) {
    SCOPED_TRACE(type);
    TrainOptions run = options(type);
    run.config["dropout"] = 0.0;
    run.config["prediction_type"] = type;
    run.config["learn_sigma"] = type == "v_prediction";
    run.batch = 12, run.log_every = 20, run.save_every = 1000;
    run.learning_rate = 3e-3;
    run.augmented = type == "edm" ? 128 : 0;
    run.timesteps = type == "edm" ? TimestepRule::uniform : TimestepRule::loss_second_moment;
    train_to(100, run);
    const auto log = log_of(type);
    EXPECT_LT(log.back().at("loss").get<double>(), 0.8 * log.front().at("loss").get<double>());
    const Model model = load_model(run.output);
    EXPECT_EQ(prediction_type_name(model.prediction), type);
    run.sample_every = 1;
    train_to(101, run);
    EXPECT_TRUE(fs::exists(run.output / "samples" / "step-101.png"));
  }
}

TEST_F(Training, KeepsCheckpointsAndFurtherAverages) {
  TrainOptions run = options("kept");
  run.ema = {averaging_from("0.9"), averaging_from("power=0.1")};
  run.keep = 2, run.save_every = 2;
  train_to(7, run);
  EXPECT_EQ(load_model(run.output / "ema-power=0.1").classes, 10);
  std::set<std::string> kept;
  for (const auto& entry : fs::directory_iterator(run.output / "checkpoints"))
    kept.insert(entry.path().filename());
  EXPECT_EQ(kept, (std::set<std::string>{"step-6", "step-7"}));
  EXPECT_EQ(read_file(run.output / "checkpoints/step-7/model.safetensors"),
            read_file(run.output / "model.safetensors"));
  EXPECT_NE(read_file(run.output / "ema-power=0.1/model.safetensors"),
            read_file(run.output / "model.safetensors"));
}

/// An earlier run's, of later steps, are the first to go.
TEST_F(Training, KeepsItsOwnCheckpointsBesideAnEarlierRuns) {
  TrainOptions run = options("kept");
  run.keep = 2, run.save_every = 2;
  const auto kept = [&] {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(run.output / "checkpoints"))
      names.insert(entry.path().filename());
    return names;
  };
  fs::create_directories(run.output / "checkpoints" / "step-100");
  fs::create_directories(run.output / "checkpoints" / "step-200");
  train_to(2, run);
  EXPECT_EQ(kept(), (std::set<std::string>{"step-2", "step-200"}));
  train_to(6, run);
  EXPECT_EQ(kept(), (std::set<std::string>{"step-4", "step-6"}));
}

TEST_F(Training, TheRateRisesStaysAndFalls) {
  TrainOptions run = options("rates");
  run.warmup = 2, run.cooldown = 4, run.log_every = 1;
  run.learning_rate = 8e-4;
  train_to(8, run);
  std::vector<double> rates;
  for (const Json& line : log_of("rates")) rates.push_back(line.at("learning_rate").get<double>());
  ASSERT_EQ(rates.size(), 8u);
  const std::vector<double> expected = {4e-4, 8e-4, 8e-4, 8e-4, 8e-4, 6e-4, 4e-4, 2e-4};
  for (size_t i = 0; i < rates.size(); ++i) EXPECT_NEAR(rates[i], expected[i], 1e-12) << i;
}

TEST_F(Training, AVelocityModelSaysSoInItsConfig) {
  TrainOptions run = options("velocity");
  run.config["prediction_type"] = "v_prediction";
  train_to(2, run);
  EXPECT_EQ(load_model(root / "velocity").prediction, PredictionType::v);
}

}  // namespace
}  // namespace tiller::test
