#include "models/device.h"
#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

class DecodingCuda : public Pipelines {};

TEST_F(DecodingCuda, BesideTheNextImageAndAloneAgree) {
  if (!cuda_available()) GTEST_SKIP() << "No GPU: " << cuda_problem();
  make_pipeline("sd1");
  const std::string run =
      "generate --quiet --model sd1 --device cuda --dtype float32 --prompt fox --batch 1 "
      "--size 64 --steps 4 ";
  ASSERT_EQ(tiller(run + "--seed 5 --count 4 --output four/").code, 0);
  for (const std::string image : {"0", "1", "2", "3"}) {
    ASSERT_EQ(tiller(run + "--seed " + std::to_string(5 + std::stoi(image)) +
                     " --count 1 --output one.png")
                  .code,
              0);
    const Tensor four = read_image(folder / ("four/0000" + image + ".png")).to(at::kInt);
    const Tensor one = read_image(folder / "one.png").to(at::kInt);
    EXPECT_LE((four - one).abs().max().item<int>(), 1) << image;
  }
}

}  // namespace
}  // namespace tiller::test
