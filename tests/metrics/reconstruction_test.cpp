#include "metrics/reconstruction.h"

#include "tests/metrics/pictures.h"

namespace tiller::test {
namespace {

const Json& reconstruction_reference() {
  static const Json json = fixture("reconstruction.json");
  return json;
}

/// The second picture of a pair.
Tensor changed(const Json& test, const Tensor& image) {
  const int64_t height = test.at("height"), width = test.at("width");
  const Tensor change =
      formula_tensor(test.at("name").get<std::string>() + " change", {height, width, 3}) * 30;
  return (image.to(at::kInt) + change.to(at::kInt).permute({2, 0, 1})).clamp(0, 255).to(at::kByte);
}

Tensor mask_of(const Tensor& image) {
  const int64_t height = image.size(1), width = image.size(2);
  Tensor mask = at::zeros({height, width}, at::kDouble);
  mask.slice(0, height / 4, height / 2).slice(1, width / 3).fill_(1);
  return mask;
}

void expect_distances(const Tensor& a, const Tensor& b, const Json& expected) {
  EXPECT_NEAR(mean_squared_error(a, b), expected.at("mse"), 1e-8);
  EXPECT_NEAR(psnr(a, b, 1), expected.at("psnr"), 1e-5);
  EXPECT_NEAR(ssim(a, b, 1), expected.at("ssim"), 1e-6);
}

TEST(Reconstruction, EqualsScikitImageAndTorchmetrics) {
  for (const Json& test : reconstruction_reference().at("reconstruction")) {
    SCOPED_TRACE(test.at("name"));
    const Tensor image = picture_of(test);
    const Tensor a = image.to(at::kDouble) / 255, b = changed(test, image).to(at::kDouble) / 255;
    expect_distances(a, b, test.at("whole"));
    const Tensor mask = mask_of(image);
    expect_distances(outside(a, mask), outside(b, mask), test.at("outside"));
  }
}

TEST(Reconstruction, RangeOnlyScales) {
  const Tensor image = picture("range", 20, 30), other = picture("other", 20, 30);
  const Tensor a = image.to(at::kDouble), b = other.to(at::kDouble);
  EXPECT_NEAR(ssim(a, b, 255), ssim(a / 255, b / 255, 1), 1e-12);
  EXPECT_NEAR(psnr(a, b, 255), psnr(a / 255, b / 255, 1), 1e-9);
}

TEST(Reconstruction, EqualImages) {
  const Tensor image = picture("same", 16, 16);
  EXPECT_EQ(mean_squared_error(image, image), 0);
  EXPECT_EQ(psnr(image, image, 255), std::numeric_limits<double>::infinity());
  EXPECT_DOUBLE_EQ(ssim(image, image, 255), 1);
  EXPECT_TRUE(std::isnan(ssim(image.slice(1, 0, 10), image.slice(1, 0, 10), 255)));
}

TEST(Reconstruction, EqualBits) {
  const Tensor x = at::tensor({1.f, 0.f, std::nanf("")});
  EXPECT_TRUE(bit_equal(x, x.clone()));
  EXPECT_FALSE(bit_equal(x, at::tensor({1.f, -0.f, std::nanf("")})));
  EXPECT_FALSE(bit_equal(x, x.to(at::kDouble)));
  EXPECT_FALSE(bit_equal(x, x.view({3, 1})));
}

TEST(Reconstruction, MaxErrorFindsOneValue) {
  const Tensor x = at::zeros({2, 3, 4});
  Tensor y = x.clone();
  y[1][2][3] = -2.5;
  EXPECT_EQ(max_error(x, y), 2.5);
}

TEST(Reconstruction, MomentsEqualScipy) {
  const Tensor x = formula_tensor("moments", {4000}).to(at::kDouble);
  const NoiseMoments got = noise_moments(x + 0.25 * x.pow(3));
  const Json& expected = reconstruction_reference().at("moments");
  EXPECT_NEAR(got.mean, expected.at("mean"), 1e-12);
  EXPECT_NEAR(got.std, expected.at("std"), 1e-12);
  EXPECT_NEAR(got.kurtosis, expected.at("kurtosis"), 1e-10);
}

}  // namespace
}  // namespace tiller::test
