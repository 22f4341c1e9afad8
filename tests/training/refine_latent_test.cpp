#include "training/refine_latent.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace tiller::test {
namespace {

Autoencoder tiny_vae() {
  Weights weights(uint64_t{3});
  const nlohmann::json config = {{"_class_name", "AutoencoderKL"},
                                 {"block_out_channels", {8, 16}},
                                 {"down_block_types", {"DownEncoderBlock2D", "DownEncoderBlock2D"}},
                                 {"up_block_types", {"UpDecoderBlock2D", "UpDecoderBlock2D"}},
                                 {"layers_per_block", 1},
                                 {"norm_num_groups", 4},
                                 {"latent_channels", 4}};
  Autoencoder vae = autoencoder(config, weights);
  vae.parameters = weights.finish();
  return vae;
}

double decoder_error(const Autoencoder& vae, const Tensor& latents, const Tensor& images) {
  return (decode_latents(vae, latents) - images).square().mean().item<double>();
}

TEST(RefineLatent, BringsTheDecodedImageNearer) {
  const Autoencoder vae = tiny_vae();
  auto generator = at::detail::createCPUGenerator(1);
  const Tensor hidden = at::randn({2, 4, 8, 8}, generator, at::kFloat);
  const Tensor images = decode_latents(vae, hidden);
  const Tensor start = hidden + 0.3 * at::randn(hidden.sizes(), generator, at::kFloat);
  int steps = 0;
  const Tensor refined = refine_latent(vae, start, images, 40, [&] { ++steps; });
  EXPECT_EQ(steps, 40);
  EXPECT_LT(decoder_error(vae, refined, images), 0.5 * decoder_error(vae, start, images));
  EXPECT_FALSE(refined.requires_grad());
  const Tensor alone = refine_latent(vae, start.narrow(0, 1, 1), images.narrow(0, 1, 1), 40);
  EXPECT_TRUE(at::allclose(alone[0], refined[1], 1e-3, 1e-3));
}

TEST(RefineLatent, NoStepsChangeNothing) {
  const Autoencoder vae = tiny_vae();
  const Tensor start = at::full({1, 4, 8, 8}, 0.25);
  EXPECT_TRUE(at::equal(refine_latent(vae, start, at::zeros({1, 3, 16, 16}), 0), start));
}

}  // namespace
}  // namespace tiller::test
