#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

/// Prompts that change from step to step, on the tiny pipelines.
class PromptSchedules : public Pipelines {
 protected:
  /// Ten steps' latents.
  Tensor drawn(const std::string& prompts, const std::string& family = "sd1") const {
    must("generate --quiet --model " + family +
         " --steps 10 --size 64 --sampler ddim --guidance cfg:scale=3 --save-latents x.safetensors "
         "--output x.png " +
         prompts);
    return latents("x.safetensors");
  }
};

TEST_F(PromptSchedules, SayOneAfterTheOther) {
  for (const std::string family : {"sd1", "sdxl"}) {
    make_pipeline(family);
    const Tensor a = drawn("--prompt 'a red fox'", family), b = drawn("--prompt 'a cat'", family);
    EXPECT_TRUE(at::equal(drawn("--prompt 'a [red fox:cat:10]'", family), a));
    EXPECT_TRUE(at::equal(drawn("--prompt 'a [red fox:cat:0]'", family), b));
    const Tensor half = drawn("--prompt 'a [red fox:cat:.5]'", family);
    EXPECT_GT(relative_error(half, a), 1e-3);
    EXPECT_GT(relative_error(half, b), 1e-3);
    EXPECT_TRUE(
        at::equal(drawn("--prompt 'a [red fox:cat:.5]' --share on --low-memory", family), half));
  }
}

TEST_F(PromptSchedules, OfEachImageAndTheNegativeAreTheirOwn) {
  make_pipeline("sd1");
  const std::string negative = " --negative-prompt '[a dog|the snow]'";
  const Tensor both =
      drawn("--prompt 'a [fox:cat:4]' --prompt 'a fox' --prompt 'a cat' --seed 3" + negative);
  const auto alone = [&](const std::string& prompt, int seed) {
    return drawn("--prompt '" + prompt + "' --seed " + std::to_string(seed) + negative);
  };
  EXPECT_LT(relative_error(both[0], alone("a [fox:cat:4]", 3)[0]), 1e-4);
  EXPECT_LT(relative_error(both[1], alone("a fox", 4)[0]), 1e-4);
  EXPECT_LT(relative_error(both[2], alone("a cat", 5)[0]), 1e-4);
  const Tensor plain = drawn("--prompt 'a fox' --seed 4 --negative-prompt 'a dog'");
  EXPECT_GT(relative_error(alone("a fox", 4), plain), 1e-4);
}

TEST_F(PromptSchedules, RecipesRepeatThem) {
  make_pipeline("sd1");
  const std::string run = "generate --quiet --model sd1 --steps 5 --size 64 ";
  must(run + "--prompt 'a [fox|cat]' --output y.png");
  must("generate --quiet --from y.png --output again.png");
  EXPECT_EQ(bytes("y.png"), bytes("again.png"));
  must(run + "--prompt 'a [fox|cat]' --plain-prompt --output plain.png");
  EXPECT_NE(bytes("y.png"), bytes("plain.png"));
}

TEST_F(PromptSchedules, AreRefusedWhereOnePromptIsNeeded) {
  make_pipeline("sd1");
  const std::string run =
      "generate --model sd1 --steps 5 --size 64 --prompt 'a [fox:cat:2]' --output y.png ";
  for (const std::string flags :
       {"--sampler bdia --save-inversion i.safetensors", "--attention-map fox",
        "--attention-effect a", "--parallel picard --sampler ddim"}) {
    const Result result = tiller(run + flags);
    EXPECT_EQ(result.code, 2) << flags;
    EXPECT_NE(result.err.find("which changes from step to step"), std::string::npos) << result.err;
  }
}

}  // namespace
}  // namespace tiller::test
