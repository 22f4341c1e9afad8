#include "tests/port.h"
#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

/// `generate` in two processes, as torchrun starts them but for its agent.
class GenerateTogether : public Pipelines {
 protected:
  /// Shell text that runs process `rank` of two.
  std::string process(int rank, const std::string& arguments) const {
    const int port = meeting_port(211 + int(runs_));
    const std::string own = std::to_string(rank);
    return "RANK=" + own +
           " WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=" + std::to_string(port) + " '" +
           TILLER_PROGRAM + "' " + arguments + " > out" + own + " 2> err" + own;
  }
  int shell(const std::string& text) const {
    const std::string whole = "cd '" + folder.string() + "' && export OMP_NUM_THREADS=1; " + text;
    return WEXITSTATUS(std::system(whole.c_str()));
  }
  /// Runs both to their ends. Returns the first one's exit code.
  int both(const std::string& arguments) {
    ++runs_;
    return shell(process(1, arguments) + " & " + process(0, arguments) +
                 "; code=$?; wait; exit $code");
  }
  /// The same, without trouble; false where this build can't.
  bool together(const std::string& arguments) {
    const int code = both(arguments);
    if (bytes("err0").find("can't connect them") != std::string::npos) return false;
    EXPECT_EQ(code, 0) << arguments << ": " << bytes("err0") << bytes("err1");
    EXPECT_EQ(bytes("out1") + bytes("err1"), "") << "the first process speaks for all";
    return true;
  }
  /// As between batches of other sizes in generate_test.cpp: these round otherwise, and random
  /// weights amplify that from step to step. tests/guidance holds evaluations to 1e-5.
  static constexpr double kRounding = 1e-4;
  /// Rounding moves latents by whole units of bdia's lattice.
  static constexpr double kLattice = 1e-3;
  static double difference(const Tensor& a, const Tensor& b) {
    return (a - b).abs().max().item<double>() / b.abs().max().item<double>();
  }
  std::string run(const std::string& more) const {
    return "generate --model model --quiet --save-latents l.safetensors " + more;
  }
  void expect_refused_by_both(const std::string& arguments, const std::string& expected, int code) {
    EXPECT_EQ(both(arguments), code) << arguments;
    for (const char* err : {"err0", "err1"}) {
      const std::string text = bytes(err);
      EXPECT_NE(text.find(expected), std::string::npos) << arguments << ": " << text;
      EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
    }
  }

 private:
  size_t runs_ = 0;
};

TEST_F(GenerateTogether, BranchesEqualOneProcess) {
  for (const std::string each :
       {"--guidance cfg:scale=2 --sampler ddim", "--guidance 'cfg:scale=2 + tpg' --sampler bdia",
        "--guidance 'cfg:scale=2 + sag:layers=m0' --sampler ddpm",
        "--guidance apg:scale=2,momentum=-0.5"}) {
    const std::string more = each + " --clip-denoised --steps 4 --count 3 --batch 2 --output ";
    must(run(more + "one"));
    const Tensor one = latents("l.safetensors");
    if (!together(run(more + "two --parallel branches"))) GTEST_SKIP() << "without Gloo";
    EXPECT_LT(difference(latents("l.safetensors"), one),
              each.ends_with("bdia") ? kLattice : kRounding)
        << each;
    EXPECT_TRUE(fs::exists(folder / "two/00002.png"));
  }
}

TEST_F(GenerateTogether, BranchesOfAnotherNetwork) {
  make_model("weak", tiny_config());
  const std::string more =
      "--guidance 'cfg:scale=2 + autoguidance:model=weak' --clip-denoised --steps 3 --output "
      "o.png ";
  must(run(more));
  const Tensor one = latents("l.safetensors");
  if (!together(run(more + "--parallel branches"))) GTEST_SKIP() << "without Gloo";
  EXPECT_LT(difference(latents("l.safetensors"), one), kRounding);
}

TEST_F(GenerateTogether, WindowsEqualOneProcess) {
  const std::string more =
      "generate --model model --json --save-latents l.safetensors --guidance 'cfg:scale=2 + tpg' "
      "--steps 8 --clip-denoised --output o.png --parallel picard:window=5 ";
  const Json one = Json::parse(must(more).out).at("parallel");
  const Tensor expected = latents("l.safetensors");
  if (!together(more)) GTEST_SKIP() << "without Gloo";
  const Json two = Json::parse(bytes("out0")).at("parallel");
  EXPECT_EQ(two.at("processes"), 2);
  EXPECT_EQ(two.at("iterations"), one.at("iterations"));
  EXPECT_EQ(two.at("step_evaluations"), one.at("step_evaluations"));
  EXPECT_LT(difference(latents("l.safetensors"), expected), kRounding);
}

TEST_F(GenerateTogether, ABatchLeavesTheSameFiles) {
  const std::string more =
      "generate --model model --json --save-latents l.safetensors --save-pairs p.safetensors "
      "--guidance cfg:scale=2 --sampler ddpm --steps 3 --count 3 --batch 1 --grid 2 --output o ";
  const auto left = [&] {
    std::map<std::string, std::string> files;
    for (const char* name : {"o/00000.png", "o/00001.png", "o/00002.png", "o/grid.png",
                             "l.safetensors", "p.safetensors"})
      files[name] = bytes(name);
    return files;
  };
  Json one = Json::parse(must(more).out);
  const auto expected = left();
  fs::remove_all(folder / "o");
  if (!together(more + "--parallel batch")) GTEST_SKIP() << "without Gloo";
  EXPECT_TRUE(left() == expected);
  Json two = Json::parse(bytes("out0"));
  EXPECT_EQ(two.at("parallel"), (Json{{"method", "batch"}, {"processes", 2}}));
  two.erase("parallel");
  for (auto* json : {&one, &two}) json->erase("seconds");
  EXPECT_EQ(one, two);
}

TEST_F(GenerateTogether, ABatchKeepsTheOrderOfRowsAndMaps) {
  make_pipeline("sd1");
  const std::string compare =
      "generate --model model --quiet --compare none --compare cfg:scale=3 --steps 2 --count 3 "
      "--batch 1 --output ";
  must(compare + "one.png");
  if (!together(compare + "two.png --parallel batch")) GTEST_SKIP() << "without Gloo";
  EXPECT_EQ(bytes("one.png"), bytes("two.png"));
  const std::string maps =
      "generate --model sd1 --quiet --prompt 'a fox' --prompt 'a red fox' --count 3 --batch 1 "
      "--size 64 --steps 2 --attention-map fox --attention-effect fox --save-maps ";
  must(maps + "m1.safetensors --output one");
  for (const std::string how : {"batch", "branches"}) {
    ASSERT_TRUE(together(maps + "m2.safetensors --output two --parallel " + how));
    const auto one = load_safetensors(folder / "m1.safetensors").tensors;
    const auto two = load_safetensors(folder / "m2.safetensors").tensors;
    ASSERT_EQ(one.size(), two.size());
    for (size_t i = 0; i < one.size(); ++i)
      EXPECT_LT(difference(two[i].second, one[i].second), how == "batch" ? 1e-30 : kRounding)
          << how << " " << one[i].first;
    EXPECT_EQ(fs::exists(folder / "two/00002-fox-effect.png"), true);
  }
}

TEST_F(GenerateTogether, ABatchGoesOnAndRepeats) {
  const std::string more =
      "generate --model model --quiet --steps 2 --count 4 --batch 2 --output o --skip-existing ";
  must(more);
  const std::string kept = bytes("o/00000.png"), missing = bytes("o/00003.png");
  fs::remove(folder / "o/00002.png"), fs::remove(folder / "o/00003.png");
  if (!together(more + "--parallel batch")) GTEST_SKIP() << "without Gloo";
  EXPECT_EQ(bytes("o/00000.png"), kept);
  for (const std::string how : {"batch", "branches"}) {
    ASSERT_TRUE(
        together("generate --quiet --from o/00003.png --output again.png --parallel " + how));
    const Tensor again = read_image(folder / "again.png"),
                 image = read_image(folder / "o/00003.png");
    EXPECT_LE((again.to(at::kInt) - image.to(at::kInt)).abs().max().item<int>(), 1) << how;
  }
  EXPECT_FALSE(missing.empty());
}

TEST_F(GenerateTogether, MoreProcessesThanImages) {
  if (!together(run("--steps 2 --count 1 --output a.png --parallel batch")))
    GTEST_SKIP() << "without Gloo";
  EXPECT_TRUE(fs::exists(folder / "a.png"));
  EXPECT_TRUE(together(run("--steps 2 --count 1 --output b.png --parallel branches")));
}

TEST_F(GenerateTogether, OneProcessDoesTheObvious) {
  const std::string more = "generate --model model --quiet --steps 2 --count 2 --output ";
  must(more + "plain");
  for (const std::string how : {"branches", "batch"}) {
    must(more + how + " --parallel " + how);
    EXPECT_EQ(bytes(how + "/00001.png"), bytes("plain/00001.png")) << how;
  }
  EXPECT_EQ(shell("RANK=0 WORLD_SIZE=1 '" TILLER_PROGRAM "' " + more + "launched"), 0);
  EXPECT_EQ(bytes("launched/00001.png"), bytes("plain/00001.png"));
}

TEST_F(GenerateTogether, WhatCantBeIsRefusedBeforeAnyWork) {
  const std::string more = "generate --model model --quiet --steps 2 --output o.png ";
  expect_refused_by_both(more, "expected --parallel batch (they share the images) or", 2);
  expect_refused_by_both(more + "--parallel brunches", "Did you mean 'branches'?", 2);
  expect_refused_by_both(more + "--parallel batch:size=2", "has no options", 2);
  expect_refused_by_both("invert --image o.png", "invert: got 2 processes, expected one", 2);
  expect_refused_by_both("evaluate --task inversion --data data --output r",
                         "evaluate inversion: got 2 processes, expected one", 2);
  for (const std::string each :
       {"--parallel branches --cache deepcache", "--parallel batch --save-inversion i.safetensors"})
    EXPECT_EQ(both(more + each), 2) << bytes("err0");
  EXPECT_NE(bytes("err0").find("--save-inversion with 2 processes"), std::string::npos);
  EXPECT_FALSE(fs::exists(folder / "o.png"));
}

TEST_F(GenerateTogether, OtherRequestsOfOthersStopTheRun) {
  const std::string more = "generate --model model --quiet --steps 2 --output o.png ";
  const int code = shell(process(1, more + "--parallel branches --seed 1") + " & " +
                         process(0, more + "--parallel branches") + "; code=$?; wait; exit $code");
  if (bytes("err0").find("can't connect them") != std::string::npos) GTEST_SKIP() << "without Gloo";
  EXPECT_EQ(code, 1);
  EXPECT_NE(bytes("err0").find("process 1 computes otherwise than the first"), std::string::npos)
      << bytes("err0");
}

TEST_F(GenerateTogether, AKilledProcessStopsTheOthers) {
  const std::string more =
      "generate --model model --quiet --guidance cfg:scale=2 --steps 20 --count 100000 --batch 1 "
      "--output o --parallel branches";
  const int code =
      shell(process(1, more) +
            " & other=$!; (while [ ! -e o/00000.png ] && [ ! -s err0 ]; do sleep 0.1; done; "
            "kill -KILL $other) & " +
            process(0, more) + "; code=$?; wait; exit $code");
  if (bytes("err0").find("can't connect them") != std::string::npos) GTEST_SKIP() << "without Gloo";
  EXPECT_EQ(code, 1);
  EXPECT_NE(bytes("err0").find("another process is gone"), std::string::npos) << bytes("err0");
  EXPECT_EQ(bytes("err0").find('\n'), bytes("err0").size() - 1) << "one line";
}

}  // namespace
}  // namespace tiller::test
