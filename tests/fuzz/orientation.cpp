#include "io/orientation.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace std::string_literals;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const auto length = static_cast<uint16_t>(std::min<size_t>(size + 8, 0xffff));
  const std::string segment = "\xff\xd8\xff\xe1"s + static_cast<char>(length >> 8) +
                              static_cast<char>(length) + "Exif\0\0"s + bytes;
  for (const auto& jpeg : {bytes, segment}) {
    const int orientation = tiller::orientation_of(jpeg);
    if (orientation < 1 || orientation > 8) std::abort();
  }
  return 0;
}
