#include "tests/tools/pipelines.h"

namespace tiller::test {
namespace {

class Refine : public Pipelines {};

/// Gradient steps on the latents bring what the VAE makes of them nearer to the image.
TEST_F(Refine, LatentsMeetTheImage) {
  make_pipeline("sd1");
  write_picture("in.png", 64, 64);
  const auto decoded = [&](const std::string& more) {
    const Result result = tiller(
        "invert --json --model sd1 --dtype float32 --prompt 'a red fox' --image in.png --steps 3 "
        "--output i.safetensors " +
        more);
    EXPECT_EQ(result.code, 0) << result.err;
    return Json::parse(result.out).at("decoder_psnr").get<double>();
  };
  const double plain = decoded(""), refined = decoded("--refine-latent 10");
  EXPECT_GT(refined, plain + 0.1);
  const Result result = tiller("generate --json --inversion i.safetensors --output y.png");
  EXPECT_TRUE(Json::parse(result.out).at("exact").get<bool>());
}

}  // namespace
}  // namespace tiller::test
