#include "samplers/noise.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/error.h"

namespace tiller {
namespace {

/// First four, last two of the first draw, then the first two of the second, as
/// torch.Generator("cpu").manual_seed(seed) gives them in torch 2.11.
struct Expected {
  uint64_t seed;
  std::vector<int64_t> shape;
  std::vector<float> first, last, second;
};

const Expected kExpected[] = {
    {0,
     {1, 2, 2, 2},
     {1.54099607f, -0.293428898f, -2.17878938f, 0.568431258f},
     {0.403346837f, 0.838026345f},
     {-0.719257593f, -0.403343529f}},
    {11,
     {1, 3, 4, 4},
     {-0.51079756f, 1.02827179f, -0.35315159f, 0.122991316f},
     {-0.683797359f, 1.06211865f},
     {-0.0205178354f, -0.630507588f}},
    {7,
     {1, 3, 3, 3},
     {-0.820134521f, 0.395631164f, 0.898908496f, -1.38840389f},
     {1.29733586f, 1.64093328f},
     {1.86778355f, 2.51160288f}},
};

void expect_numbers(const at::Tensor& flat, int64_t from, const std::vector<float>& expected) {
  for (size_t k = 0; k < expected.size(); ++k)
    EXPECT_NEAR(flat[from + static_cast<int64_t>(k)].item<float>(), expected[k], 1e-6);
}

TEST(SeededNoise, DrawsTorchsNumbers) {
  for (const auto& expected : kExpected) {
    SeededNoise noise({expected.seed});
    const auto first = noise.draw(at::empty(expected.shape)).flatten();
    expect_numbers(first, 0, expected.first);
    expect_numbers(first, first.numel() - 2, expected.last);
    expect_numbers(noise.draw(at::empty(expected.shape)).flatten(), 0, expected.second);
  }
}

TEST(SeededNoise, AnImageDependsOnItsSeedAlone) {
  SeededNoise batch(image_seeds(11, 3)), alone({13});
  const auto like = at::empty({3, 3, 4, 4});
  for (int draw = 0; draw < 3; ++draw)
    EXPECT_TRUE(batch.draw(like)[2].equal(alone.draw(like.slice(0, 0, 1))[0]));
}

TEST(SeededNoise, CastsFloat32Draws) {
  SeededNoise half({1}), full({1}), wide({1});
  const auto like = at::empty({1, 3, 4, 4});
  const auto expected = full.draw(like);
  EXPECT_TRUE(half.draw(like.to(at::kHalf)).equal(expected.to(at::kHalf)));
  EXPECT_TRUE(wide.draw(like.to(at::kDouble)).equal(expected.to(at::kDouble)));
}

TEST(SeededNoise, RefusesAnotherBatchSize) {
  SeededNoise noise({1, 2});
  EXPECT_THROW(noise.draw(at::empty({3, 1})), Error);
}

/// What torch.randn(8, device="cuda") gives after torch.manual_seed(0).
TEST(PhiloxNormal, GivesTheNumbersOfCuda) {
  const std::vector<float> expected = {-0.92466259f, -0.42534415f, -2.6438457f,  0.14518388f,
                                       -0.12086647f, -0.57972564f, -0.62285122f, -0.32838709f};
  SeededNoise noise({0, 1}, RandomNumbers::nv);
  const Tensor first = noise.draw(at::empty({2, 8}));
  expect_numbers(first[0], 0, expected);
  EXPECT_FALSE(at::equal(first[0], first[1]));
  EXPECT_FALSE(at::equal(first, noise.draw(at::empty({2, 8})))) << "draws follow one another";
  EXPECT_TRUE(at::equal(first[1], SeededNoise({1}, RandomNumbers::nv).draw(at::empty({1, 8}))[0]))
      << "an image's noise depends on its seed alone";
}

}  // namespace
}  // namespace tiller
