#include "io/orientation.h"

#include <ATen/ATen.h>

#include <cstdint>

namespace tiller {
namespace {

using namespace std::string_view_literals;

/// A whole number of `width` bytes; 0 beyond the end.
uint32_t whole_number(std::string_view bytes, size_t at, size_t width, bool little) {
  if (at > bytes.size() || width > bytes.size() - at) return 0;
  uint32_t value = 0;
  for (size_t i = 0; i < width; ++i)
    value = value << 8 | uint8_t(bytes[at + (little ? width - 1 - i : i)]);
  return value;
}

/// What a JPEG's EXIF segment holds, a TIFF file; empty: there is none before the picture.
std::string_view exif_of(std::string_view jpeg) {
  if (!jpeg.starts_with("\xff\xd8"sv)) return {};
  constexpr uint32_t exif_marker = 0xffe1, picture_marker = 0xffda;
  for (size_t at = 2; at + 4 <= jpeg.size();) {
    const uint32_t marker = whole_number(jpeg, at, 2, false),
                   length = whole_number(jpeg, at + 2, 2, false);
    if (marker < 0xff01 || marker == picture_marker || length < 2) break;
    const std::string_view segment = jpeg.substr(at + 4, length - 2);
    if (marker == exif_marker && segment.starts_with("Exif\0\0"sv)) return segment.substr(6);
    at += 2 + length;
  }
  return {};
}

}  // namespace

int orientation_of(std::string_view jpeg) {
  constexpr uint32_t orientation_tag = 274;
  constexpr size_t entry_bytes = 12;
  const std::string_view tiff = exif_of(jpeg);
  const bool little = tiff.starts_with("II"sv);
  const size_t first = whole_number(tiff, 4, 4, little),
               count = whole_number(tiff, first, 2, little);
  for (size_t i = 0; i < count; ++i) {
    const size_t entry = first + 2 + i * entry_bytes;
    if (whole_number(tiff, entry, 2, little) != orientation_tag) continue;
    const uint32_t value = whole_number(tiff, entry + 8, 2, little);
    return value >= 1 && value <= 8 ? int(value) : 1;
  }
  return 1;
}

Tensor upright(const Tensor& image, int orientation) {
  const int turns = orientation - 1;
  const Tensor turned = turns & 4 ? image.transpose(1, 2) : image;
  std::vector<int64_t> mirrored;
  if (turns & 2) mirrored.push_back(1);
  if ((turns & 1) != (turns >> 1 & 1)) mirrored.push_back(2);
  return turned.flip(mirrored).contiguous();
}

}  // namespace tiller
