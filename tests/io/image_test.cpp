#include "io/image.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include "io/error.h"

namespace tiller {
namespace {

fs::path fixture(const std::string& name) { return fs::path(TILLER_FIXTURES) / "images" / name; }

/// The picture of make_images.py.
Tensor picture() {
  const Tensor x = at::arange(24).view({1, 24}).expand({16, 24});
  const Tensor y = at::arange(16).view({16, 1}).expand({16, 24});
  return at::stack({5 * x, 9 * y, 7 * (x + y)}).to(at::kByte);
}

double largest_difference(const Tensor& a, const Tensor& b) {
  return (a.to(at::kFloat) - b.to(at::kFloat)).abs().max().item<double>();
}

TEST(Image, ReadsWhatPillowWrote) {
  for (const char* name : {"plain.bmp", "plain.tga", "text.png", "transparent.png"})
    EXPECT_TRUE(read_image(fixture(name)).equal(picture())) << name;
  EXPECT_LE(largest_difference(read_image(fixture("plain.jpg")), picture()), 16);
  const Tensor grey = read_image(fixture("grey.png"));
  EXPECT_TRUE(grey[0].equal(grey[2]));
  const Tensor gif = read_image(fixture("two_colours.gif"));
  EXPECT_TRUE(gif.select(2, 0).select(1, 0).equal(at::tensor({255, 0, 0}, at::kByte)));
  EXPECT_TRUE(gif.select(2, 15).select(1, 0).equal(at::tensor({0, 0, 255}, at::kByte)));
}

/// transparent.png has an alpha of 128 throughout; the expected bytes are Pillow's.
TEST(Image, StandsOnWhite) {
  const Tensor image = read_image_on_white(fixture("transparent.png"));
  EXPECT_TRUE(image.select(2, 0).select(1, 0).equal(at::tensor({127, 127, 127}, at::kByte)));
  EXPECT_TRUE(image.select(2, 23).select(1, 15).equal(at::tensor({185, 195, 132}, at::kByte)));
  EXPECT_TRUE(read_image_on_white(fixture("text.png")).equal(picture()));
}

TEST(Image, IsTurnedAsExifSays) {
  const Tensor plain = read_image(fixture("plain.jpg"));
  const Tensor half = plain.flip({1, 2}), clockwise = plain.transpose(1, 2).flip({2});
  EXPECT_TRUE(read_image(fixture("turned_3.jpg")).equal(half));
  EXPECT_TRUE(read_image(fixture("turned_6.jpg")).equal(clockwise));
  EXPECT_TRUE(read_opaque_image(fixture("turned_6.jpg")).equal(clockwise));
}

TEST(Image, RefusesOthersCutOnesAndLargeOnes) {
  EXPECT_THROW(decode_image("", "x"), Error);
  EXPECT_THROW(decode_image("no image at all, only text", "x"), Error);
  EXPECT_THROW(read_image(fixture("missing.png")), Error);
  const std::string png = read_file(fixture("noise.png"));
  EXPECT_THROW(decode_image(png.substr(0, png.size() / 2), "x"), Error);
  EXPECT_NO_THROW(decode_image(png, "x", 30 * 20));
  EXPECT_THROW(decode_image(png, "x", 30 * 20 - 1), Error);
}

TEST(Image, RoundTripsThroughPng) {
  const Tensor image = at::randint(0, 256, {3, 21, 34}, at::kByte);
  const std::string png = encode_png(image);
  EXPECT_TRUE(decode_image(png, "x").equal(image));
  EXPECT_EQ(encode_png(image), png);
}

TEST(Image, KeepsTextInPng) {
  const PngText text = {
      {"parameters", "a lighthouse\nSteps: 20"},
      {"tiller", "{\"prompt\": \"phare \xc3\xa0 l'\xc3\xa9t\xc3\xa9 \xe2\x98\x80\"}"},
      {"empty", ""}};
  const std::string png = encode_png(picture(), text);
  EXPECT_EQ(parse_png_text(png, "x"), text);
  EXPECT_EQ(encode_png(picture(), text), png);
  EXPECT_TRUE(decode_image(png, "x").equal(picture()));
}

TEST(Image, ReadsTextThatPillowWrote) {
  std::string compressed, greek;
  for (int i = 0; i < 100; ++i) compressed += "long ";
  for (int i = 0; i < 300; ++i) greek += "\xce\xb1";
  const PngText expected = {{"parameters", "a lighthouse\nSteps: 20, Seed: 7"},
                            {"accent", "caf\xc3\xa9"},
                            {"compressed", compressed},
                            {"greek", "\xce\xb1\xce\xb2\xce\xb3"},
                            {"greek compressed", greek}};
  EXPECT_EQ(read_png_text(fixture("text.png")), expected);
}

TEST(Image, RefusesTextThatPngCannotHold) {
  for (const std::string key : {"", "caf\xc3\xa9", "a\nb"})
    EXPECT_THROW(encode_png(picture(), {{key, "x"}}), Error) << key;
  EXPECT_THROW(encode_png(picture(), {{std::string(80, 'k'), "x"}}), Error);
  EXPECT_THROW(encode_png(picture(), {{"k", std::string("a\0b", 3)}}), Error);
  EXPECT_THROW(encode_png(picture(), {{"k", "\xff"}}), Error);
}

TEST(Image, RefusesDamagedPngs) {
  const std::string png = read_file(fixture("text.png"));
  for (size_t size = 0; size < png.size(); ++size)
    EXPECT_THROW(parse_png_text(png.substr(0, size), "x"), Error) << size;
  for (size_t i = 0; i < png.size(); ++i) {
    std::string damaged = png;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    EXPECT_THROW(parse_png_text(damaged, "x"), Error) << i;
  }
}

std::string chunk(const std::string& type, const std::string& data) {
  const auto number = [](uint32_t n) {
    return std::string{static_cast<char>(n >> 24), static_cast<char>(n >> 16),
                       static_cast<char>(n >> 8), static_cast<char>(n)};
  };
  const std::string body = type + data;
  const auto* bytes = reinterpret_cast<const Bytef*>(body.data());
  return number(static_cast<uint32_t>(data.size())) + body +
         number(static_cast<uint32_t>(crc32_z(0, bytes, body.size())));
}

std::string compressed_text(size_t length) {
  const std::string text(length, 'a');
  std::string small(compressBound(length), '\0');
  uLongf size = small.size();
  compress(reinterpret_cast<Bytef*>(small.data()), &size,
           reinterpret_cast<const Bytef*>(text.data()), length);
  return chunk("zTXt", std::string("k\0\0", 3) + small.substr(0, size));
}

TEST(Image, RefusesCompressedTextThatIsTooLong) {
  const std::string start = "\x89PNG\r\n\x1a\n", end = chunk("IEND", "");
  EXPECT_THROW(parse_png_text(start + compressed_text(size_t{1} << 26) + end, "x"), Error);
  std::string many = start;  // each of which is short enough
  const std::string one = compressed_text(size_t{1} << 24);
  for (int i = 0; i < 4; ++i) many += one;
  EXPECT_NO_THROW(parse_png_text(many + end, "x"));
  EXPECT_THROW(parse_png_text(many + one + end, "x"), Error);
}

TEST(Image, ResizesAsPillowDoes) {
  const Tensor found = resize_and_crop(read_image(fixture("noise.png")), 8);
  EXPECT_LE(largest_difference(found, read_image(fixture("noise_8.png"))), 2);
}

TEST(Image, ResizeKeepsFlatAndFittingImages) {
  EXPECT_TRUE(resize_and_crop(picture(), 16).equal(picture().slice(2, 4, 20)));
  const Tensor flat = at::full({3, 100, 37}, 77, at::kByte);
  EXPECT_TRUE(resize_and_crop(flat, 64).equal(at::full({3, 64, 64}, 77, at::kByte)));
}

/// All of it would take half a terabyte.
TEST(Image, ResizeTakesTheMiddleOfAnExtremePicture) {
  Tensor image = at::full({3, 1, 10'000'000}, 10, at::kByte);
  image.slice(2, 5'000'000).fill_(200);
  const Tensor wide = resize_and_crop(image, 64);
  EXPECT_EQ(wide.sizes(), at::IntArrayRef({3, 64, 64}));
  EXPECT_TRUE(wide.add(wide.flip(2)).eq(210).all().item<bool>());
  EXPECT_LT(wide[0][0][0].item<int64_t>(), wide[0][0][63].item<int64_t>());
  EXPECT_TRUE(resize_and_crop(image.transpose(1, 2), 64).equal(wide.transpose(1, 2)));
}

/// What is beyond the crop doesn't show, whether it is scaled or not.
TEST(Image, ResizeDoesNotDependOnWhatIsCroppedFirst) {
  const Tensor image = at::randint(0, 256, {3, 16, 16 * 12}, at::kByte);
  const Tensor middle = image.slice(2, 48, 48 + 96);  // short enough to be scaled whole
  EXPECT_LE(largest_difference(resize_and_crop(image, 8), resize_and_crop(middle, 8)), 0);
}

TEST(Image, BytesAndNumbersAreInverse) {
  const Tensor bytes = at::arange(256).to(at::kByte).view({1, 1, 16, 16});
  EXPECT_TRUE(to_bytes(from_bytes(bytes)).equal(bytes));
  EXPECT_EQ(from_bytes(bytes).min().item<float>(), -1);
  EXPECT_EQ(from_bytes(bytes).max().item<float>(), 1);
  const Tensor outside = at::tensor({-7.f, 7.f, std::numeric_limits<float>::quiet_NaN()});
  EXPECT_TRUE(to_bytes(outside).slice(0, 0, 2).equal(at::tensor({0, 255}, at::kByte)));
}

}  // namespace
}  // namespace tiller
