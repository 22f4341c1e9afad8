#include "models/clip_vision.h"

#include "io/resample.h"
#include "tests/models/formula.h"

namespace tiller::test {
namespace {

/// The image of tests/reference/make_controls.py.
Tensor image_of(const Json& test) {
  const int64_t height = test.at("height"), width = test.at("width");
  const Tensor blocks =
      formula_tensor(test.at("name"), {(height + 4) / 5, (width + 4) / 5, 3}) * 128 + 128;
  return blocks.clamp(0, 255)
      .to(at::kByte)
      .repeat_interleave(5, 0)
      .repeat_interleave(5, 1)
      .slice(0, 0, height)
      .slice(1, 0, width)
      .permute({2, 0, 1});
}

double relative_to(const Tensor& got, const Json& expected) {
  const auto values = expected.get<std::vector<double>>();
  return relative_error(got.contiguous(), at::tensor(values, at::kDouble));
}

/// Sizes that are kept, scaled down, scaled up, wide and tall.
TEST(ClipVision, StatesEqualTransformers) {
  const at::NoGradGuard guard;
  const Json reference = fixture("controls.json").at("vision");
  Weights weights(uint64_t{0});
  const ClipVision encoder(reference.at("config"), weights);
  fill_by_formula(weights.finish());
  for (const Json& test : reference.at("images")) {
    SCOPED_TRACE(test.at("name"));
    const Tensor pixels = clip_pixels(image_of(test), encoder.image_size());
    EXPECT_NEAR(pixels.to(at::kDouble).sum().item<double>(), test.at("pixels"), 1e-3);
    const ImageStates states = encoder.encode(pixels);
    EXPECT_LT(relative_to(states.pooled, test.at("pooled")), 1e-5);
    EXPECT_LT(relative_to(states.states[0].narrow(1, 0, 4), test.at("states")), 1e-5);
  }
}

/// Pillow 13.0.0: (37 x + 91 y + 13 x y) % 256, three times it and 255 less it, 50x60 to 32x38 by
/// BICUBIC; the sum of the bytes, and that of each times its place modulo 97.
TEST(Resample, APortraitIsPillows) {
  const Tensor x = at::arange(50).view({1, 50}), y = at::arange(60).view({60, 1});
  const Tensor a = (37 * x + 91 * y + 13 * x * y).remainder(256);
  const Tensor image = at::stack({a, (3 * a).remainder(256), 255 - a}).to(at::kByte);
  const Tensor bytes = resample_bicubic(image, 38, 32).permute({1, 2, 0}).flatten().to(at::kLong);
  EXPECT_EQ(bytes.sum().item<int64_t>(), 463800);
  const Tensor place = at::arange(bytes.numel()).remainder(97);
  EXPECT_EQ((bytes * place).sum().item<int64_t>(), 22120519);
}

TEST(Resample, AnEvenImageStaysEven) {
  const Tensor image = at::full({3, 7, 11}, 200, at::TensorOptions(at::kByte));
  const Tensor scaled = resample_bicubic(image, 5, 31);
  EXPECT_EQ(scaled.sizes(), at::IntArrayRef({3, 5, 31}));
  EXPECT_TRUE((scaled == 200).all().item<bool>());
}

}  // namespace
}  // namespace tiller::test
