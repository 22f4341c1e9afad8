#include "io/orientation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "io/file.h"

namespace tiller {
namespace {

std::string turned() { return read_file(fs::path(TILLER_FIXTURES) / "images" / "turned_6.jpg"); }

TEST(Orientation, TurnsAsPillowsTransposition) {
  const Tensor image = at::arange(6).view({1, 2, 3});
  const std::vector<std::vector<std::vector<int64_t>>> expected = {
      {{0, 1, 2}, {3, 4, 5}},   {{2, 1, 0}, {5, 4, 3}},   {{5, 4, 3}, {2, 1, 0}},
      {{3, 4, 5}, {0, 1, 2}},   {{0, 3}, {1, 4}, {2, 5}}, {{3, 0}, {4, 1}, {5, 2}},
      {{5, 2}, {4, 1}, {3, 0}}, {{2, 5}, {1, 4}, {0, 3}}};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    std::vector<int64_t> values;
    for (const auto& row : expected[orientation - 1])
      values.insert(values.end(), row.begin(), row.end());
    const Tensor result = upright(image, orientation);
    EXPECT_EQ(result.size(1), std::ssize(expected[orientation - 1])) << orientation;
    EXPECT_TRUE(result.flatten().equal(at::tensor(values, at::kLong))) << orientation;
  }
}

TEST(Orientation, IsReadFromExifAlone) {
  EXPECT_EQ(orientation_of(turned()), 6);
  EXPECT_EQ(orientation_of(""), 1);
  EXPECT_EQ(orientation_of("\xff\xd8"), 1);
  EXPECT_EQ(orientation_of(turned().substr(1)), 1);
}

TEST(Orientation, OfCutAndChangedFilesIsInRange) {
  const std::string whole = turned();
  const size_t head = std::min<size_t>(whole.size(), 120);
  for (size_t size = 0; size < head; ++size)
    EXPECT_EQ(orientation_of(whole.substr(0, size)) % 5, 1) << size;  // 1 or 6
  for (size_t at = 0; at < head; ++at)
    for (const char value : {'\0', '\x7f', '\xff'}) {
      std::string changed = whole;
      changed[at] = value;
      EXPECT_GE(orientation_of(changed), 1);
      EXPECT_LE(orientation_of(changed), 8);
    }
}

}  // namespace
}  // namespace tiller
