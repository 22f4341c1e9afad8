/// Small networks on a GPU beside the same ones on the CPU, where other tests compare them with
/// their originals.
#include "models/adm_unet.h"
#include "models/autoencoder_kl.h"
#include "models/device.h"
#include "models/residency.h"
#include "tests/models/unet2d_test.h"

namespace tiller::test {
namespace {

constexpr double kTolerance = 1e-4;

Tensor answer(const Network& network, const UNet2DInput& input, at::Device device) {
  const auto there = [&](const Tensor& x) { return x.defined() ? x.to(device) : x; };
  Conditioning conditioning = input.conditioning;
  for (Tensor* part : {&conditioning.label, &conditioning.context, &conditioning.pooled,
                       &conditioning.time_ids, &conditioning.guidance})
    *part = there(*part);
  const Branch branch{&conditioning, nullptr};
  return evaluate(network, there(input.x), there(input.t), {&branch, 1}).outputs.front().cpu();
}

void expect_same_on_gpu(const Network& network, const NamedTensors& parameters,
                        const UNet2DInput& input) {
  const Tensor expected = answer(network, input, at::kCPU);
  move_to(parameters, at::Device(at::kCUDA, 0));
  EXPECT_LT(relative_error(answer(network, input, at::Device(at::kCUDA, 0)), expected), kTolerance);
}

TEST(NetworksCuda, UNet2DEqualsTheCpus) {
  if (!cuda_available()) GTEST_SKIP() << "No GPU: " << cuda_problem();
  const Json cases = fixture("unet2d.json").at("cases");
  ASSERT_FALSE(cases.empty());
  for (const Json& test : cases) {
    SCOPED_TRACE(test.at("name").get<std::string>());
    const at::NoGradGuard no_gradients;
    const BuiltUNet2D built = build_unet2d(test.at("config"));
    expect_same_on_gpu(*built.network, built.tensors, unet2d_input(test));
  }
}

TEST(NetworksCuda, AdmEqualsTheCpus) {
  if (!cuda_available()) GTEST_SKIP() << "No GPU: " << cuda_problem();
  const Json cases = fixture("adm.json").at("cases");
  ASSERT_FALSE(cases.empty());
  for (const Json& test : cases) {
    SCOPED_TRACE(test.at("config").dump());
    const at::NoGradGuard no_gradients;
    AdmConfig config = adm_config(test.at("config"), "adm.json");
    if (config.class_cond) config.num_classes = 7;
    Weights weights(0);
    const auto network = adm_unet(config, weights);
    const NamedTensors parameters = weights.finish();
    fill_by_formula(parameters);
    UNet2DInput input;
    input.x = 2 * formula_tensor("x", {2, 3, config.image_size, config.image_size});
    input.t = at::tensor({17.5f, 803.f});
    input.conditioning.label = at::tensor({3, 6}, at::kLong);
    expect_same_on_gpu(*network, parameters, input);
  }
}

TEST(NetworksCuda, AutoencoderKLEqualsTheCpus) {
  if (!cuda_available()) GTEST_SKIP() << "No GPU: " << cuda_problem();
  const Json cases = fixture("autoencoder.json").at("kl");
  ASSERT_FALSE(cases.empty());
  for (const Json& test : cases) {
    SCOPED_TRACE(test.at("name").get<std::string>());
    const at::NoGradGuard no_gradients;
    Weights weights(0);
    const AutoencoderKL vae(test.at("config"), weights);
    const NamedTensors parameters = weights.finish();
    fill_by_formula(parameters);
    const int64_t size = 8 * vae.config().downscale();
    const Tensor images = formula_tensor("images", {2, 3, size, size});
    const Tensor latents = 2 * formula_tensor("latents", {2, vae.config().latent_channels, 8, 8});
    const Tensor mean = vae.encode(images).mean, decoded = vae.decode(latents);
    move_to(parameters, at::Device(at::kCUDA, 0));
    EXPECT_LT(relative_error(vae.encode(images.cuda()).mean.cpu(), mean), kTolerance);
    EXPECT_LT(relative_error(vae.decode(latents.cuda()).cpu(), decoded), kTolerance);
  }
}

}  // namespace
}  // namespace tiller::test
