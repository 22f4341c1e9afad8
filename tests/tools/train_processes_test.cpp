#include "tests/port.h"
#include "tests/tools/program.h"

namespace tiller::test {
namespace {

/// Training in two processes, as torchrun starts them but for its agent.
class TrainTogether : public ProgramTest {
 protected:
  void SetUp() override {
    ProgramTest::SetUp();
    auto generator = at::detail::createCPUGenerator(3);
    fs::create_directories(folder / "data");
    for (int i = 0; i < 8; ++i)
      write_png(folder / "data" / (std::to_string(i) + ".png"),
                at::randint(0, 256, {3, 8, 8}, generator, at::TensorOptions(at::kByte)));
    const Json config = {{"image_size", 8},
                         {"num_channels", 64},
                         {"num_res_blocks", 1},
                         {"channel_mult", "1"},
                         {"learn_sigma", true},
                         {"num_heads", 2},
                         {"attention_resolutions", "8"}};
    write_file(folder / "config.json", config.dump());
  }

  std::string command(const std::string& more) const {
    return "'" TILLER_PROGRAM
           "' train --quiet --data data --model-config config.json --device cpu "
           "--lr 1e-3 --warmup 2 --log-every 1 --sample-every 0 --timesteps loss-second-moment " +
           more;
  }
  /// Shell text that starts process `rank` of two.
  std::string process(int rank, const std::string& more) const {
    const int port = meeting_port(3);
    return "RANK=" + std::to_string(rank) +
           " WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=" + std::to_string(port) + " " +
           command(more) + " > out" + std::to_string(rank) + " 2>&1";
  }
  int shell(const std::string& text) const {
    const std::string whole = "cd '" + folder.string() + "' && export OMP_NUM_THREADS=1; " + text;
    return WEXITSTATUS(std::system(whole.c_str()));
  }
  /// Runs both to their ends; false where this build can't.
  bool run_both(const std::string& more) const {
    const int code =
        shell(process(1, more) + " & " + process(0, more) + "; code=$?; wait; exit $code");
    if (bytes("out0").find("this build can't connect them") != std::string::npos) return false;
    EXPECT_EQ(code, 0) << bytes("out0") << bytes("out1");
    EXPECT_EQ(bytes("out1").find("launch: "), std::string::npos) << bytes("out1");
    return true;
  }
  std::vector<double> losses(const std::string& output) const {
    std::vector<double> losses;
    std::ifstream file(folder / output / "log.jsonl");
    for (std::string line; std::getline(file, line);)
      losses.push_back(Json::parse(line).at("loss").get<double>());
    return losses;
  }
  void expect_same(const std::string& a, const std::string& b, size_t steps) const {
    const auto of_a = losses(a), of_b = losses(b);
    ASSERT_EQ(of_a.size(), steps);
    ASSERT_EQ(of_b.size(), steps);
    for (size_t i = 0; i < steps; ++i) EXPECT_NEAR(of_a[i], of_b[i], 1e-6) << i;
    const auto of = [&](const std::string& run) {
      const TensorFile file = load_safetensors(folder / run / "state.safetensors");
      return std::map<std::string, Tensor>(file.tensors.begin(), file.tensors.end());
    };
    const auto left = of(a), right = of(b);
    // AdamW turns the rounding of gradients that are zero into steps: the gradients' means tell.
    for (const auto& [name, tensor] : left) {
      if (!name.starts_with("first.")) continue;
      EXPECT_LT((tensor - right.at(name)).abs().max().item<double>(), 1e-6) << name;
    }
  }
};

TEST_F(TrainTogether, TwoProcessesAreOneOfTheDoubleBatch) {
  ASSERT_EQ(shell(command("--batch 4 --steps 6 --output one")), 0);
  if (!run_both("--batch 2 --steps 3 --output two")) GTEST_SKIP() << "without Gloo";
  ASSERT_TRUE(run_both("--batch 2 --steps 6 --output two"));
  expect_same("one", "two", 6);
}

TEST_F(TrainTogether, GoesOnWithAnotherNumberOfProcesses) {
  ASSERT_EQ(shell(command("--batch 4 --steps 6 --output one")), 0);
  if (!run_both("--batch 2 --microbatch 1 --steps 3 --output mixed"))
    GTEST_SKIP() << "without Gloo";
  ASSERT_EQ(shell(command("--batch 4 --steps 6 --output mixed")), 0);
  expect_same("one", "mixed", 6);
  EXPECT_EQ(shell(command("--batch 2 --steps 8 --output mixed") + " 2> err"), 1);
  EXPECT_NE(bytes("err").find("batch: got 4, expected 2"), std::string::npos) << bytes("err");
}

/// They have met before, and don't wait for it in vain.
TEST_F(TrainTogether, TheFirstReadsTheReferenceAndTheOthersHearThatItCant) {
  const std::string more = "--batch 2 --steps 2 --output run --fd-every 2 --fd-reference nowhere";
  EXPECT_NE(shell(process(1, more) + " & " + process(0, more) + "; code=$?; wait; exit $code"), 0);
  EXPECT_EQ(bytes("out0").find("launch: "), std::string::npos) << bytes("out0");
  EXPECT_NE(bytes("out1").find("launch: "), std::string::npos) << bytes("out1");
}

TEST_F(TrainTogether, AKilledProcessStopsTheOthers) {
  const std::string more = "--batch 2 --steps 100000 --save-every 2 --output killed";
  const int code =
      shell(process(1, more) +
            " & other=$!; (while [ ! -s killed/log.jsonl ] && [ ! -s out0 ]; do sleep 0.1; done; "
            "kill -KILL $other) & " +
            process(0, more) + "; code=$?; wait; exit $code");
  if (bytes("out0").find("this build can't connect them") != std::string::npos)
    GTEST_SKIP() << "without Gloo";
  EXPECT_EQ(code, 1);
  EXPECT_NE(bytes("out0").find("another process is gone"), std::string::npos) << bytes("out0");
  EXPECT_EQ(bytes("out0").find('\n'), bytes("out0").size() - 1) << "one line";
}

}  // namespace
}  // namespace tiller::test
