#include "io/grid.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/image.h"
#include "io/stroke_font.h"

namespace tiller {
namespace {

Tensor colours(int64_t count, int64_t size) {
  return at::arange(1, count + 1).view({-1, 1, 1, 1}).expand({count, 3, size, size}).to(at::kByte);
}

int64_t pixels_of(const Tensor& grid, int64_t value) {
  return (grid == value).all(0).sum().item<int64_t>();
}

TEST(Grid, ShowsEveryImageWhole) {
  const Tensor grid = image_grid(colours(6, 100), 3, {{"none", "cfg"}, {"1", "2", "3"}});
  for (int64_t i = 1; i <= 6; ++i) EXPECT_EQ(pixels_of(grid, i), 100 * 100) << i;
}

TEST(Grid, EnlargesSmallImagesByAWholeFactor) {
  const Tensor grid = image_grid(colours(2, 32), 2);
  EXPECT_EQ(pixels_of(grid, 1), 96 * 96);
  EXPECT_EQ(pixels_of(image_grid(colours(2, 128), 2), 1), 128 * 128);
}

TEST(Grid, PutsImagesRowByRowAndLabelsOutsideOfThem) {
  const Tensor images = colours(4, 100);
  const Tensor plain = image_grid(images, 2);
  const Tensor labelled = image_grid(images, 2, {{"first row", "second"}, {"left", "right"}});
  EXPECT_GT(labelled.size(1), plain.size(1));
  EXPECT_GT(labelled.size(2), plain.size(2));
  EXPECT_LT((labelled < 128).sum().item<int64_t>() - (plain < 128).sum().item<int64_t>(),
            labelled.numel() / 20);
  EXPECT_GT((labelled < 128).sum().item<int64_t>(), (plain < 128).sum().item<int64_t>());
  const auto place = [&](int64_t i) { return (plain[0] == i).nonzero()[0]; };
  EXPECT_TRUE(place(1)[0].equal(place(2)[0]));
  EXPECT_TRUE(place(1)[1].equal(place(3)[1]));
  EXPECT_LT(place(1)[0].item<int64_t>(), place(3)[0].item<int64_t>());
}

TEST(Grid, DrawsEveryGlyphDifferentlyAndInsideOfItsBox) {
  std::vector<Tensor> drawn;
  for (char c = '!'; c <= '~'; ++c) {
    Tensor canvas = at::zeros({40, 60});
    draw_text(canvas, std::string(1, c), 10, 10, 1);
    EXPECT_GT(canvas.max().item<float>(), 0.5) << c;
    EXPECT_EQ(canvas.slice(0, 0, 8).max().item<float>(), 0) << c;
    EXPECT_EQ(canvas.slice(0, 30).max().item<float>(), 0) << c;
    EXPECT_EQ(canvas.slice(1, 0, 8).max().item<float>(), 0) << c;
    for (size_t i = 0; i < drawn.size(); ++i)
      EXPECT_GT((canvas - drawn[i]).abs().sum().item<float>(), 1.5)
          << c << " looks like " << static_cast<char>('!' + i);
    drawn.push_back(canvas);
  }
}

TEST(Grid, CountsCodePoints) {
  EXPECT_EQ(text_width("\xc3\xa9"), text_width("\xe2\x98\x80"));
  EXPECT_EQ(text_width(""), 0);
}

}  // namespace
}  // namespace tiller
