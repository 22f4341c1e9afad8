#include "models/autoencoder.h"
#include "tests/models/formula.h"

namespace tiller::test {
namespace {

Autoencoder small() {
  const Json config = fixture("autoencoder.json").at("kl").at(0).at("config");
  Weights weights(uint64_t{0});
  Autoencoder vae = autoencoder(config, weights);
  vae.parameters = weights.finish();
  fill_by_formula(vae.parameters);
  return vae;
}

Tensor latents_for(const Autoencoder& vae) {
  return formula_tensor("latents", {1, vae.channels(), 4, 4});
}

TEST(AutoencoderSending, DecodesAsOneThatWasThereAllAlong) {
  const at::NoGradGuard guard;
  const Autoencoder here = small();
  for (const auto& [name, tensor] : here.parameters) tensor.set_data(tensor.to(at::kBFloat16));
  Autoencoder sent = small();
  send(sent, at::kBFloat16, at::kCPU);
  EXPECT_TRUE(
      at::equal(decode_latents(sent, latents_for(sent)), decode_latents(here, latents_for(here))));
  for (const auto& [name, tensor] : sent.parameters)
    EXPECT_EQ(tensor.scalar_type(), at::kBFloat16) << name;
}

TEST(AutoencoderSending, EncodingWaitsToo) {
  const at::NoGradGuard guard;
  Autoencoder sent = small();
  send(sent, at::kFloat, at::kCPU);
  const int64_t size = 4 * sent.downscale();
  const Tensor noise = at::zeros({1, sent.channels(), 4, 4});
  const Tensor images = formula_tensor("images", {1, 3, size, size});
  const Tensor latents = encode_images(sent, images, noise);
  EXPECT_TRUE(at::equal(latents, encode_images(small(), images, noise)));
}

TEST(AutoencoderSending, WhatFailsOnTheWayIsThrownWhereItIsNeeded) {
  const at::NoGradGuard guard;
  Autoencoder lost = small();
  const Tensor latents = latents_for(lost);
  send(lost, at::kFloat, at::kXLA);
  EXPECT_THROW(decode_latents(lost, latents), c10::Error);
  EXPECT_THROW(decode_latents(lost, latents), c10::Error);
}

}  // namespace
}  // namespace tiller::test
