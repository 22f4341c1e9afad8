#pragma once
#include <ATen/core/Tensor.h>

#include <map>

#include "io/file.h"

namespace tiller {
using at::Tensor;

/// Key and value of PNG text chunks (tEXt and iTXt).
using PngText = std::map<std::string, std::string>;

/// Decodes PNG, JPEG, BMP, GIF (first frame) or TGA to (3, H, W) uint8 RGB. `name` is for the
/// message. Throws Error when it can't be decoded or has more than `max_pixels`.
Tensor decode_image(std::string_view bytes, const std::string& name,
                    int64_t max_pixels = int64_t{1} << 28);
/// As decode_image, turned as EXIF says.
Tensor read_image(const fs::path&);
/// As read_image, transparency on white as transformers 5 has it (Pillow's alpha_composite).
Tensor read_image_on_white(const fs::path&);
/// As read_image; throws Error where 8 bits of red, green and blue don't say all: with 16 bits a
/// channel, and with transparency.
Tensor read_opaque_image(const fs::path&);

/// Scales (3, H, W) uint8 so that the shorter side is `size`, antialiased, and crops the centre:
/// (3, size, size). Of a side more than eight times the shorter one only the middle is scaled.
Tensor resize_and_crop(const Tensor& image, int64_t size);

/// The middle of a side that is longer than `longest`, as even or odd as it was, so that the centre
/// stays. image: (C, H, W).
Tensor narrowed(const Tensor& image, int64_t side, int64_t longest);

/// Sides longer than what is kept of them by this factor are cut before they are scaled.
constexpr int64_t kLongestAspect = 8;

/// image: (3, H, W) uint8. The same image and text give the same bytes.
std::string encode_png(const Tensor& image, const PngText& text = {});
void write_png(const fs::path&, const Tensor& image, const PngText& text = {});
/// The text chunks of a PNG (tEXt, zTXt and iTXt) in UTF-8. Throws Error when the file isn't one or
/// is damaged.
PngText read_png_text(const fs::path&);
/// As read_png_text; `name` is for the message.
PngText parse_png_text(std::string_view bytes, const std::string& name);

/// (B, 3, H, W) in [-1, 1] to uint8, rounded to the nearest, and back.
Tensor to_bytes(const Tensor& images);
Tensor from_bytes(const Tensor& images);

}  // namespace tiller
