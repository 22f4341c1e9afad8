#include "io/heat_map.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace tiller::test {
namespace {

TEST(HeatMap, MagmasLightnessRises) {
  const Tensor colours = magma(at::linspace(0, 1, 100)).to(at::kFloat);
  const Tensor lightness = (at::tensor({0.2126f, 0.7152f, 0.0722f}).unsqueeze(1) * colours).sum(0);
  EXPECT_GT((lightness.slice(0, 1) - lightness.slice(0, 0, 99)).min().item<double>(), -1);
  EXPECT_LT(lightness[0].item<double>(), 2);
  EXPECT_GT(lightness[99].item<double>(), 230);
}

TEST(HeatMap, ShowsTheImageDarkWhereTheMapIsLow) {
  const Tensor image = at::full({3, 300, 400}, 200, at::kByte);
  Tensor map = at::full({6, 8}, 0.02);
  map.narrow(1, 4, 4).fill_(0.03);
  const Tensor overlay = heat_overlay(image, map, "fox");
  ASSERT_EQ(overlay.sizes(), image.sizes());
  const Tensor upper = overlay.narrow(1, 0, 200).to(at::kFloat);
  const double low = upper.narrow(2, 0, 100).mean().item<double>();
  const double high = upper.narrow(2, 300, 100).mean().item<double>();
  EXPECT_LT(low, 110);
  EXPECT_GT(low, 50);  // still seen
  EXPECT_GT(high, low + 80);
  const Tensor corner = overlay.narrow(1, 270, 30).narrow(2, 0, 60);
  EXPECT_EQ(corner.max().item<int>(), 255);  // the label
}

TEST(HeatMap, EnlargesSmallImagesForTheLabel) {
  EXPECT_EQ(heat_overlay(at::zeros({3, 64, 96}, at::kByte), at::rand({8, 12}),
                         "a long label that "
                         "has to shrink")
                .sizes(),
            at::IntArrayRef({3, 128, 192}));
}

TEST(HeatMap, SummarySaysWhereTheMapLies) {
  Tensor map = at::full({4, 8}, 0.5);
  map[0][6] = 2.5;
  const MapSummary found = summary(map);
  EXPECT_DOUBLE_EQ(found.least, 0.5);
  EXPECT_DOUBLE_EQ(found.greatest, 2.5);
  EXPECT_NEAR(found.x, 6.5 / 8, 1e-6);
  EXPECT_NEAR(found.y, 0.5 / 4, 1e-6);
  EXPECT_NEAR(summary(at::ones({3, 3})).x, 0.5, 1e-6);
}

}  // namespace
}  // namespace tiller::test
