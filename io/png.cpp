// PNG files with text chunks (PNG specification, third edition, section 11.3.3).
#include <ATen/ATen.h>
#include <zlib.h>

#include <climits>
#include <nlohmann/json.hpp>

#include "io/error.h"
#include "io/image.h"

#define STBI_WRITE_NO_STDIO
#include <stb_image_write.h>
/// Defined by stb_image_write, which declares it with its implementation only.
extern "C" unsigned char* stbi_write_png_to_mem(const unsigned char* pixels, int stride_bytes,
                                                int x, int y, int n, int* out_len);

namespace tiller {
namespace {

constexpr std::string_view signature("\x89PNG\r\n\x1a\n", 8);
constexpr size_t header_end = 8 + 12 + 13;           // the signature and the chunk IHDR
constexpr size_t max_text_bytes = size_t{1} << 24;   // of one chunk, inflated
constexpr size_t max_texts_bytes = size_t{1} << 26;  // of all

std::string big_endian(uint32_t number) {
  return {static_cast<char>(number >> 24), static_cast<char>(number >> 16),
          static_cast<char>(number >> 8), static_cast<char>(number)};
}

uint32_t read_big_endian(std::string_view bytes) {
  uint32_t number = 0;
  for (int i = 0; i < 4; ++i) number = number << 8 | static_cast<unsigned char>(bytes[i]);
  return number;
}

uint32_t checksum(std::string_view bytes) {
  return static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

std::string make_chunk(const std::string& type, const std::string& data) {
  return big_endian(static_cast<uint32_t>(data.size())) + type + data +
         big_endian(checksum(type + data));
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<signed char>(c) > 0; });
}

bool is_utf8(const std::string& text) {
  try {
    return !nlohmann::json(text).dump().empty();
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

void check_text(const std::string& key, const std::string& value) {
  const bool printable_key = is_ascii(key) && std::all_of(key.begin(), key.end(), [](char c) {
                               return c >= 32 && c < 127;
                             });
  if (key.empty() || key.size() > 79 || !printable_key)
    throw Error("PNG text: got key '" + printable(key) + "', expected 1 to 79 ASCII characters.");
  if (value.find('\0') != std::string::npos || !is_utf8(value) || value.size() > max_text_bytes)
    throw Error("PNG text '" + key + "': got a value that is no UTF-8 or too long, expected text.");
}

/// tEXt for plain ASCII, which every reader knows, else iTXt in UTF-8.
std::string text_chunk(const std::string& key, const std::string& value) {
  check_text(key, value);
  if (is_ascii(value)) return make_chunk("tEXt", key + '\0' + value);
  return make_chunk("iTXt", key + std::string(5, '\0') + value);
}

std::string latin1_to_utf8(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 128) {
      result += c;
    } else {
      result += static_cast<char>(0xc0 | byte >> 6);
      result += static_cast<char>(0x80 | (byte & 63));
    }
  }
  return result;
}

/// Takes what stands before the next zero byte, and that byte, off `rest`. False where there is
/// none.
bool take_field(std::string_view& rest, std::string_view& field) {
  const size_t end = rest.find('\0');
  if (end == std::string_view::npos) return false;
  field = rest.substr(0, end);
  rest.remove_prefix(end + 1);
  return true;
}

bool inflate_text(std::string_view compressed, std::string& text) {
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) return false;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(compressed.data()));
  stream.avail_in = static_cast<uInt>(compressed.size());
  int status = Z_OK;
  char buffer[16384];
  while (status == Z_OK && text.size() <= max_text_bytes) {
    stream.next_out = reinterpret_cast<Bytef*>(buffer);
    stream.avail_out = sizeof buffer;
    status = inflate(&stream, Z_NO_FLUSH);
    text.append(buffer, sizeof buffer - stream.avail_out);
  }
  inflateEnd(&stream);
  return status == Z_STREAM_END && text.size() <= max_text_bytes;
}

/// The key and value of a text chunk; false where it is damaged. total: grows by what was inflated.
bool parse_text(std::string_view type, std::string_view data, PngText& text, size_t& total) {
  std::string_view key, language, translated;
  if (!take_field(data, key)) return false;
  std::string value;
  bool compressed = type == "zTXt";
  const size_t flags = type == "zTXt" ? 1 : type == "iTXt" ? 2 : 0;
  if (data.size() < flags || (flags && data[flags - 1] != 0)) return false;
  if (type == "iTXt") compressed = data[0] != 0;
  data.remove_prefix(flags);
  if (type == "iTXt" && (!take_field(data, language) || !take_field(data, translated)))
    return false;
  if (!compressed) value = data;
  if (compressed && !inflate_text(data, value)) return false;
  total += value.size();
  if (value.size() > max_text_bytes || total > max_texts_bytes) return false;
  if (type == "iTXt" && !is_utf8(value)) return false;
  text[latin1_to_utf8(key)] = type == "iTXt" ? value : latin1_to_utf8(value);
  return true;
}

}  // namespace

PngText parse_png_text(std::string_view bytes, const std::string& name) {
  if (!bytes.starts_with(signature)) throw Error(name + ": got no PNG, expected one.");
  const auto damaged = [&](const std::string& what) {
    return Error(name + ": the PNG is " + what);
  };
  PngText text;
  size_t total = 0;
  std::string_view rest = bytes.substr(signature.size());
  for (std::string_view type; type != "IEND";) {
    if (rest.size() < 12) throw damaged("cut off.");
    const uint32_t size = read_big_endian(rest);
    if (size > INT32_MAX || size > rest.size() - 12) throw damaged("cut off or damaged.");
    type = rest.substr(4, 4);
    if (checksum(rest.substr(4, size + 4)) != read_big_endian(rest.substr(8 + size)))
      throw damaged("damaged: the checksum of its '" + printable(std::string(type)) +
                    "' is wrong.");
    if (type == "tEXt" || type == "zTXt" || type == "iTXt")
      if (!parse_text(type, rest.substr(8, size), text, total))
        throw damaged(total > max_texts_bytes ? "refused: its text takes more than 64 MiB."
                                              : "damaged in a text chunk.");
    rest.remove_prefix(size + 12);
  }
  return text;
}

PngText read_png_text(const fs::path& path) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  return parse_png_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string());
}

std::string encode_png(const Tensor& image, const PngText& text) {
  TORCH_CHECK(image.dim() == 3 && image.size(0) == 3 && image.scalar_type() == at::kByte,
              "encode_png: got ", image.sizes(), ", expected (3, H, W) uint8");
  std::string chunks;
  for (const auto& [key, value] : text) chunks += text_chunk(key, value);
  const Tensor pixels = image.cpu().permute({1, 2, 0}).contiguous();
  const int height = static_cast<int>(image.size(1)), width = static_cast<int>(image.size(2));
  int size = 0;
  const std::unique_ptr<unsigned char, decltype(&std::free)> png(
      stbi_write_png_to_mem(pixels.const_data_ptr<uint8_t>(), 3 * width, width, height, 3, &size),
      &std::free);
  if (!png)
    throw Error("An image of " + std::to_string(width) + "x" + std::to_string(height) +
                " can't be written as PNG.");
  std::string bytes(reinterpret_cast<const char*>(png.get()), static_cast<size_t>(size));
  return bytes.insert(header_end, chunks);
}

void write_png(const fs::path& path, const Tensor& image, const PngText& text) {
  write_file(path, encode_png(image, text));
}

}  // namespace tiller
