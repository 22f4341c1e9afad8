#include "io/image.h"

#include <ATen/ATen.h>

#include <climits>

#include "io/error.h"
#include "io/orientation.h"

#define STBI_NO_STDIO
#include <stb_image.h>

namespace tiller {
namespace {

constexpr size_t max_file_bytes = size_t{1} << 30;

constexpr int64_t usual_max_pixels = int64_t{1} << 28;

struct FreePixels {
  void operator()(unsigned char* pixels) const { stbi_image_free(pixels); }
};

/// (channels, H, W) uint8.
Tensor decode_channels(std::string_view bytes, const std::string& name, int64_t max_pixels,
                       int wanted) {
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  const int size = static_cast<int>(std::min<size_t>(bytes.size(), INT_MAX));
  int width = 0, height = 0, channels = 0;
  if (!stbi_info_from_memory(data, size, &width, &height, &channels))
    throw Error(name + ": got no image, expected a PNG, JPEG, BMP, GIF or TGA.");
  if (width <= 0 || height <= 0 || int64_t{width} * height > max_pixels)
    throw Error(name + ": got " + std::to_string(width) + "x" + std::to_string(height) +
                " pixels, expected at most " + std::to_string(max_pixels) + ".");
  const std::unique_ptr<unsigned char, FreePixels> pixels(
      stbi_load_from_memory(data, size, &width, &height, &channels, wanted));
  if (!pixels) throw Error(name + ": the image is damaged (" + stbi_failure_reason() + ").");
  return at::from_blob(pixels.get(), {height, width, wanted}, at::kByte)
      .permute({2, 0, 1})
      .clone(at::MemoryFormat::Contiguous);
}

}  // namespace

Tensor decode_image(std::string_view bytes, const std::string& name, int64_t max_pixels) {
  return decode_channels(bytes, name, max_pixels, 3);
}

Tensor read_image(const fs::path& path) {
  const std::string bytes = read_file(path, max_file_bytes);
  return upright(decode_image(bytes, path.string()), orientation_of(bytes));
}

Tensor read_image_on_white(const fs::path& path) {
  const std::string bytes = read_file(path, max_file_bytes);
  const Tensor image = decode_channels(bytes, path.string(), usual_max_pixels, 4).to(at::kInt);
  const Tensor alpha = image.narrow(0, 3, 1);
  const Tensor sum = 128 * (image.narrow(0, 0, 3) * alpha + 255 * (255 - alpha)) + (128 << 7);
  const Tensor mixed = ((sum.bitwise_right_shift(8) + sum).bitwise_right_shift(8))
                           .bitwise_right_shift(7)
                           .to(at::kByte);
  return upright(mixed, orientation_of(bytes));
}

Tensor read_opaque_image(const fs::path& path) {
  const std::string bytes = read_file(path, max_file_bytes);
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  const Tensor image = decode_channels(bytes, path.string(), usual_max_pixels, 4);
  if (stbi_is_16_bit_from_memory(data, static_cast<int>(bytes.size())))
    throw Error(path.string() + ": got 16 bits a channel, expected 8: save it as an 8-bit PNG.");
  if (image[3].lt(255).any().item<bool>())
    throw Error(path.string() +
                ": got a transparent image, expected an opaque one: put it on a background first.");
  return upright(image.narrow(0, 0, 3), orientation_of(bytes));
}

Tensor narrowed(const Tensor& image, int64_t side, int64_t longest) {
  const int64_t length = image.size(side), kept = longest + (length - longest) % 2;
  return length > longest ? image.narrow(side, (length - kept) / 2, kept) : image;
}

Tensor resize_and_crop(const Tensor& whole, int64_t size) {
  const int64_t longest = kLongestAspect * std::min(whole.size(1), whole.size(2));
  const Tensor image = narrowed(narrowed(whole, 1, longest), 2, longest);
  const int64_t height = image.size(1), width = image.size(2), shorter = std::min(height, width);
  const auto scaled = [&](int64_t side) { return (2 * side * size + shorter) / (2 * shorter); };
  Tensor result = image;
  if (shorter != size) {
    const Tensor small =
        at::_upsample_bicubic2d_aa(image.unsqueeze(0).to(at::kFloat),
                                   {scaled(height), scaled(width)}, /*align_corners=*/false);
    result = small.squeeze(0).round().clamp(0, 255).to(at::kByte);
  }
  const int64_t top = (result.size(1) - size) / 2, left = (result.size(2) - size) / 2;
  return result.slice(1, top, top + size).slice(2, left, left + size).contiguous();
}

Tensor to_bytes(const Tensor& images) {
  const Tensor scaled = images.to(at::kFloat).nan_to_num(0).clamp(-1, 1);
  return ((scaled + 1) * 127.5).round().to(at::kByte);
}

Tensor from_bytes(const Tensor& images) { return images.to(at::kFloat) / 127.5 - 1; }

}  // namespace tiller
