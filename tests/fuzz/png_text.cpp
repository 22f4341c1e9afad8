#include <zlib.h>

#include "io/error.h"
#include "io/image.h"

namespace {

std::string big_endian(uint32_t n) {
  return {static_cast<char>(n >> 24), static_cast<char>(n >> 16), static_cast<char>(n >> 8),
          static_cast<char>(n)};
}

/// The data as a chunk of a PNG whose checksums are right, for a fuzzer won't find these.
std::string with_chunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  const auto* bytes = reinterpret_cast<const Bytef*>(body.data());
  const auto sum = static_cast<uint32_t>(crc32_z(0, bytes, body.size()));
  return "\x89PNG\r\n\x1a\n" + big_endian(static_cast<uint32_t>(data.size())) + body +
         big_endian(sum) + std::string("\0\0\0\0IEND\xae\x42\x60\x82", 12);
}

void parse(const std::string& png) {
  try {
    for (const auto& [key, value] : tiller::parse_png_text(png, "x.png"))
      if (key.find('\0') != std::string::npos) std::abort();
  } catch (const tiller::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  parse(bytes);
  if (bytes.empty()) return 0;
  static const std::string types[] = {"tEXt", "zTXt", "iTXt"};
  parse(with_chunk(types[static_cast<unsigned char>(bytes[0]) % 3], bytes.substr(1)));
  return 0;
}
