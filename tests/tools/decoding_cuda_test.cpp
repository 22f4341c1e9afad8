#include "models/device.h"
#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

class DecodingCuda : public Pipelines {
 protected:
  void SetUp() override {
    Pipelines::SetUp();
    if (!cuda_available()) GTEST_SKIP() << "No GPU: " << cuda_problem();
    make_pipeline("sd1");
  }

  Result generate_cuda(const std::string& more) const {
    return tiller(
        "generate --quiet --model sd1 --device cuda --dtype float32 --prompt fox "
        "--batch 1 --size 64 --steps 4 " +
        more);
  }

  Tensor picture(const std::string& name) const { return read_image(folder / name).to(at::kInt); }
};

TEST_F(DecodingCuda, BesideTheNextImageAndAloneAgree) {
  ASSERT_EQ(generate_cuda("--seed 5 --count 4 --output four/").code, 0);
  for (int i = 0; i < 4; ++i) {
    const Result one =
        generate_cuda("--seed " + std::to_string(5 + i) + " --count 1 --output one.png");
    ASSERT_EQ(one.code, 0) << one.err;
    const Tensor difference =
        picture("four/0000" + std::to_string(i) + ".png") - picture("one.png");
    EXPECT_LE(difference.abs().max().item<int>(), 1) << i;
  }
}

TEST_F(DecodingCuda, AnImageBecomesALatentByAVaeThatIsStillComing) {
  ASSERT_EQ(generate_cuda("--seed 5 --output one.png").code, 0);
  const Result result = tiller(
      "invert --quiet --model sd1 --device cuda --dtype float32 --prompt fox --image one.png "
      "--steps 4 --refine-latent 2 --output noise.safetensors");
  EXPECT_EQ(result.code, 0) << result.err;
}

}  // namespace
}  // namespace tiller::test
