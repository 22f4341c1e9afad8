#include <signal.h>
#include <sys/wait.h>

#include <set>
#include <thread>

#include "tests/training/training_runs.h"
#include "training/checkpoints.h"
#include "training/stop_signals.h"

namespace tiller::test {
namespace {

/// Runs that are stopped or killed at a certain moment.
class Interruption : public TrainingRuns {
 protected:
  TrainOptions options() const {
    for (const int red : {10, 200}) write("data/" + std::to_string(red) + ".png", png(red));
    TrainOptions options = short_run("run");
    options.config = {{"image_size", 8},     {"num_channels", 32}, {"num_res_blocks", 1},
                      {"channel_mult", "1"}, {"num_heads", 2},     {"attention_resolutions", "8"}};
    return options;
  }
  TrainOptions measured(const std::function<double()>& measure) const {
    TrainOptions run = options();
    run.distance = {"fd_x", 2, [=](const fs::path&) { return measure(); }};
    return run;
  }
  std::vector<int64_t> measured_steps() const {
    std::vector<int64_t> steps;
    for (const Json& line : log_of("run"))
      if (line.contains("fd_x")) steps.push_back(line.at("step").get<int64_t>());
    return steps;
  }
  std::set<std::string> entries(const std::string& folder) const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(root / folder))
      names.insert(entry.path().filename());
    return names;
  }
};

double killed() { throw Error("killed"); }

TEST_F(Interruption, WhatIsntMeasuredIsMeasuredFirst) {
  EXPECT_THROW(train_to(3, measured(killed)), Error);
  EXPECT_EQ(measured_steps(), (std::vector<int64_t>{}));
  int calls = 0;
  EXPECT_THROW(train_to(3, measured([&] { return ++calls == 2 ? killed() : 1.0; })), Error);
  EXPECT_EQ(measured_steps(), (std::vector<int64_t>{2}));
  train_to(3, measured([] { return 2.0; }));
  EXPECT_EQ(measured_steps(), (std::vector<int64_t>{2, 3}));
  train_to(3, measured(killed));
  EXPECT_EQ(measured_steps(), (std::vector<int64_t>{2, 3})) << "once";
}

TEST_F(Interruption, WhatCantBeMeasuredTwiceIsLeftOut) {
  int calls = 0;
  const auto fails_twice = [&] { return ++calls <= 2 ? killed() : 1.0; };
  EXPECT_THROW(train_to(3, measured(fails_twice)), Error);
  EXPECT_THROW(train_to(3, measured(fails_twice)), Error);
  train_to(3, measured(fails_twice));
  EXPECT_EQ(measured_steps(), (std::vector<int64_t>{3}));
}

TEST_F(Interruption, WhatIsntDrawnIsDrawnFirst) {
  TrainOptions run = options();
  train_to(2, run);
  run.sample_every = 2, run.keep = 2;
  train_to(3, run);
  EXPECT_EQ(entries("run/samples"), (std::set<std::string>{"step-2.png", "step-3.png"}));
  EXPECT_EQ(entries("run/checkpoints"), (std::set<std::string>{"step-2", "step-3"}));
}

TEST_F(Interruption, TheBestModelIsThereBeforeTheLogSaysSo) {
  write("run/best", "in the way");
  EXPECT_ANY_THROW(train_to(2, measured([] { return 1.0; })));
  EXPECT_EQ(measured_steps(), (std::vector<int64_t>{}));
  fs::remove(root / "run/best");
  train_to(2, measured([] { return 1.0; }));
  EXPECT_EQ(measured_steps(), (std::vector<int64_t>{2}));
  EXPECT_EQ(read_file(root / "run/best/model.safetensors"),
            read_file(root / "run/model.safetensors"));
}

TEST_F(Interruption, AStopSavesAndDrawsNothing) {
  TrainOptions run = measured([] { return ::raise(SIGTERM), 1.0; });
  run.sample_every = 1000;
  train_to(9, run);
  EXPECT_EQ(measured_steps(), (std::vector<int64_t>{2}));
  EXPECT_TRUE(fs::exists(root / "run/model.safetensors"));
  EXPECT_FALSE(fs::exists(root / "run/samples"));
}

/// SIGTERM is never more than a request, and what comes at once is one: timeout(1) sends two.
TEST_F(Interruption, ALaterSignalEndsTheProcess) {
  const auto ask_thrice = [] {
    const StopSignals signals;
    ::raise(SIGINT), ::raise(SIGINT);
    if (!StopSignals::asked()) ::_exit(1);
    std::this_thread::sleep_for(std::chrono::milliseconds(2010));
    ::raise(SIGTERM);
    ::raise(SIGINT);
    ::_exit(0);
  };
  EXPECT_EXIT(ask_thrice(), ::testing::KilledBySignal(SIGINT), "");
}

/// What is logged is the speed of this process, which hasn't trained all the line's steps.
TEST_F(Interruption, TheSpeedIsOfTheStepsSinceTheResume) {
  train_to(6, options());
  train_to(8, options());
  std::istringstream lines(read_file(root / "run/log.jsonl"));
  Json last;
  for (std::string line; std::getline(lines, line);) last = Json::parse(line);
  const double images =
      last.at("images_per_second").get<double>() * last.at("seconds").get<double>();
  EXPECT_GT(images, 11);
  EXPECT_LT(images, 18) << "two steps of six";
}

/// Fails within a model.
class FullDisk final : public TrainTask {
 public:
  NamedTensors parameters() const override { return {}; }
  NamedTensors average() const override { return {}; }
  Tensor losses(int64_t, const BatchPart&) override { return {}; }
  std::string image_name(int64_t, int64_t) override { return ""; }
  void save(const fs::path& folder) const override {
    write_file(folder / "unet/model.safetensors", "new");
    throw Error("the disk is full");
  }
  void preview(const fs::path&) const override {}
};

TEST_F(Interruption, AModelIsReplacedWhollyOrNotAtAll) {
  TrainOptions run;
  run.output = root / "run";
  EXPECT_THROW(save_best(run, FullDisk()), Error);
  EXPECT_EQ(entries("run"), std::set<std::string>{});
  write("run/best/unet/model.safetensors", "old");
  EXPECT_THROW(save_best(run, FullDisk()), Error);
  EXPECT_EQ(read_file(root / "run/best/unet/model.safetensors"), "old");
  EXPECT_EQ(entries("run/best"), std::set<std::string>{"unet"});
}

TEST_F(Interruption, WhatKilledProcessesWroteIsRemoved) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  const std::string gone = std::to_string(child), living = std::to_string(::getppid());
  write("run/.state." + gone + "-0.tmp.safetensors", "half");
  write("run/best/.model." + gone + ".tmp/unet/model.safetensors", "half");
  write("run/checkpoints/.step-3." + gone + ".tmp/model.safetensors", "half");
  write("run/.state." + living + "-0.tmp.safetensors", "half");
  write("run/.note.tmp", "a user's");
  remove_leftovers(root / "run");
  EXPECT_EQ(entries("run"),
            (std::set<std::string>{".note.tmp", ".state." + living + "-0.tmp.safetensors", "best",
                                   "checkpoints"}));
  EXPECT_TRUE(entries("run/best").empty());
  EXPECT_TRUE(entries("run/checkpoints").empty());
}

}  // namespace
}  // namespace tiller::test
