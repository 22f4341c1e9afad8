#include "tests/tools/program.h"

namespace tiller::test {
namespace {

class ParallelProgram : public ProgramTest {
 protected:
  /// What --json says, and the latents.
  struct Run {
    Json json;
    Tensor latents;
  };
  Run run(const std::string& arguments) const {
    const Result result = tiller(
        "generate --model model --json --save-latents l.safetensors --output o " + arguments);
    EXPECT_EQ(result.code, 0) << result.err;
    return {Json::parse(result.out), latents("l.safetensors")};
  }
  /// In units of the largest value: networks with random weights leave values far above 1.
  static double difference(const Tensor& a, const Tensor& b) {
    return (a - b).abs().max().item<double>() / b.abs().max().item<double>();
  }
  std::string refusal(const std::string& arguments) const {
    const Result result = tiller("generate --model model --steps 4 --output o.png " + arguments);
    EXPECT_EQ(result.code, 2) << arguments;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    return result.err;
  }
};

TEST_F(ParallelProgram, EqualsSequential) {
  const std::string batch =
      "--steps 8 --count 3 --batch 2 --clip-denoised --sampler ddpm "
      "--guidance 'cfg:scale=2,from=0.25 + tpg:scale=2' ";
  const Run one = run(batch);
  const Run all = run(batch + "--parallel jacobi:tolerance=0,window=0");
  // As between batches of other sizes in generate_test.cpp: these round otherwise, and random
  // weights amplify that from step to step, to 0.4e-4 to 1.1e-4 for eight seeds.
  EXPECT_LT(difference(all.latents, one.latents), 3e-4);
  const Json cost = all.json.at("parallel");
  EXPECT_EQ(cost.at("window"), 8);
  EXPECT_LE(cost.at("iterations"), 16);  // of two batches
  EXPECT_GT(cost.at("step_evaluations"), 24);
  EXPECT_FALSE(one.json.contains("parallel"));
}

TEST_F(ParallelProgram, RecipesKeepIt) {
  const Result first = tiller(
      "generate --model model --steps 6 --count 2 --quiet --parallel taa:window=4 --output many");
  ASSERT_EQ(first.code, 0) << first.err;
  ASSERT_EQ(tiller("generate --quiet --from many/00001.png --output again.png").code, 0);
  EXPECT_EQ(bytes("many/00001.png"), bytes("again.png"));
  // What processes share says nothing of steps.
  ASSERT_EQ(
      tiller("generate --quiet --from many/00001.png --output shared.png --parallel batch").code,
      0);
  EXPECT_EQ(bytes("many/00001.png"), bytes("shared.png"));
}

TEST_F(ParallelProgram, RefusesWhatCantBe) {
  EXPECT_NE(refusal("--parallel picard --sampler heun").find("got sampler heun"),
            std::string::npos);
  EXPECT_NE(refusal("--parallel picrad").find("picard"), std::string::npos);
  EXPECT_NE(refusal("--parallel taa --guidance apg:momentum=0.5").find("remembers"),
            std::string::npos);
  EXPECT_NE(refusal("--parallel taa --save-inversion x.safetensors").find("--save-inversion"),
            std::string::npos);
}

}  // namespace
}  // namespace tiller::test
