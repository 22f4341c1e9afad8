#include "io/canny.h"

#include "tests/models/formula.h"

namespace tiller::test {
namespace {

/// The image of tests/reference/make_canny.py.
Tensor image_of(const Json& test) {
  const int64_t height = test.at("height"), width = test.at("width"), smooth = test.at("smooth");
  const Tensor noise = formula_tensor(
      "canny " + std::to_string(height) + " " + std::to_string(width), {height, width, 3});
  return (noise * 128 + 128)
      .clamp(0, 255)
      .to(at::kByte)
      .repeat_interleave(smooth, 0)
      .repeat_interleave(smooth, 1)
      .slice(0, 0, height)
      .slice(1, 0, width)
      .permute({2, 0, 1});
}

TEST(Canny, EdgesEqualOpenCvs) {
  for (const Json& test : fixture("canny.json")) {
    SCOPED_TRACE(test.dump());
    const Tensor edges = canny(image_of(test), {test.at("low"), test.at("high")});
    EXPECT_EQ((edges[0] > 0).sum().item<int64_t>(), test.at("edges"));
    const std::string bytes(
        reinterpret_cast<const char*>(edges[0].contiguous().data_ptr<uint8_t>()), edges[0].numel());
    EXPECT_EQ(crc_of(bytes), test.at("crc"));
    EXPECT_TRUE(at::equal(edges[0], edges[2]));
  }
}

TEST(Canny, AnEvenImageHasNoEdges) {
  EXPECT_EQ(canny(at::full({3, 8, 9}, 77, at::TensorOptions(at::kByte))).max().item<int>(), 0);
}

}  // namespace
}  // namespace tiller::test
