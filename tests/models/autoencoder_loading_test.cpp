#include "io/error.h"
#include "models/autoencoder.h"
#include "tests/models/formula.h"

namespace tiller::test {
namespace {

Autoencoder small(at::Device device) {
  const Json config = fixture("autoencoder.json").at("kl").at(0).at("config");
  Weights weights(uint64_t{0}, device);
  Autoencoder vae = autoencoder(config, weights);
  vae.parameters = weights.finish();
  if (!device.is_meta()) fill_by_formula(vae.parameters);
  return vae;
}

Autoencoder coming(const std::function<Autoencoder()>& load) {
  return loaded_beside(small(at::kMeta), at::kCPU, load);
}

class AutoencoderLoadedBeside : public testing::Test {
 protected:
  Autoencoder here = small(at::kCPU);
  Tensor latents = formula_tensor("latents", {1, here.channels(), 4, 4});
  at::NoGradGuard guard;
};

TEST_F(AutoencoderLoadedBeside, AnswersAsOneThatWasThereAllAlong) {
  const Autoencoder vae = coming([] { return small(at::kCPU); });
  EXPECT_EQ(vae.downscale(), here.downscale());
  EXPECT_EQ(vae.channels(), here.channels());
  EXPECT_TRUE(at::equal(decode_latents(vae, latents), decode_latents(here, latents)));
  const int64_t size = 4 * here.downscale();
  const Tensor images = formula_tensor("images", {1, 3, size, size});
  EXPECT_TRUE(at::equal(encode_images(vae, images, latents), encode_images(here, images, latents)));
}

TEST_F(AutoencoderLoadedBeside, WhatFailedIsThrownWhereItIsNeeded) {
  const Autoencoder vae = coming([]() -> Autoencoder { throw Error("vae: got none."); });
  for (int attempt = 0; attempt < 2; ++attempt) EXPECT_THROW(decode_latents(vae, latents), Error);
}

}  // namespace
}  // namespace tiller::test
