#include "io/gguf_metadata.h"

#include <cstdint>
#include <cstdio>

#include "io/error.h"

namespace tiller {
namespace {

constexpr uint64_t kShown = 8;  ///< Items of a list.

/// The types of values, as gguf.md numbers them.
enum GgufType : uint32_t { kGgufText = 8, kGgufList = 9 };

/// Bytes of a number of each type; 0: no number.
uint64_t gguf_bytes(uint32_t type) {
  constexpr uint64_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return type < std::size(bytes) ? bytes[type] : 0;
}

GgufValue gguf_whole(int64_t number) { return {std::to_string(number), number, {}}; }

GgufValue gguf_real(double number) {
  char text[32];
  std::snprintf(text, sizeof text, "%.9g", number);
  return {text, {}, {}};
}

GgufValue gguf_number(GgufCursor& cursor, uint32_t type, const std::string& key) {
  switch (type) {
    case 0:
      return gguf_whole(cursor.number<uint8_t>());
    case 1:
      return gguf_whole(cursor.number<int8_t>());
    case 2:
      return gguf_whole(cursor.number<uint16_t>());
    case 3:
      return gguf_whole(cursor.number<int16_t>());
    case 4:
      return gguf_whole(cursor.number<uint32_t>());
    case 5:
      return gguf_whole(cursor.number<int32_t>());
    case 6:
      return gguf_real(cursor.number<float>());
    case 7:
      return {cursor.number<uint8_t>() ? "true" : "false", {}, {}};
    case kGgufText:
      return {cursor.text(), {}, {}};
    case 10: {
      const auto number = cursor.number<uint64_t>();
      return number > INT64_MAX ? GgufValue{std::to_string(number), {}, {}}
                                : gguf_whole(int64_t(number));
    }
    case 11:
      return gguf_whole(cursor.number<int64_t>());
    case 12:
      return gguf_real(cursor.number<double>());
    default:
      cursor.refuse("metadata '" + printable(key) + "' of type " + std::to_string(type),
                    "a number, a text or a list of these");
  }
}

void skip_texts(GgufCursor& cursor, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) cursor.take(cursor.number<uint64_t>());
}

GgufValue gguf_list(GgufCursor& cursor, const std::string& key) {
  const auto type = cursor.number<uint32_t>();
  const uint64_t bytes = gguf_bytes(type);
  if (!bytes && type != kGgufText)
    cursor.refuse("metadata '" + printable(key) + "', a list of type " + std::to_string(type),
                  "one of numbers or texts");
  const uint64_t count = cursor.count(bytes ? bytes : sizeof(uint64_t), "items of a list");
  const uint64_t shown = std::min(count, kShown);
  GgufValue list;
  for (uint64_t i = 0; i < shown; ++i) {
    const GgufValue item = gguf_number(cursor, type, key);
    list.text += (i ? ", " : "") + item.text;
    if (item.whole) list.wholes.push_back(*item.whole);
  }
  if (count > shown) {
    list.text += " and " + std::to_string(count - shown) + " more";
    list.wholes.clear();
    if (bytes)
      cursor.take(bytes * (count - shown));
    else
      skip_texts(cursor, count - shown);
  }
  return list;
}

}  // namespace

void GgufCursor::refuse(const std::string& found, const std::string& expected) const {
  throw Error(file_ + ": got " + found + ", expected " + expected + ".");
}

std::span<const std::byte> GgufCursor::take(uint64_t size) {
  if (size > bytes_.size() - place_)
    refuse("a header that ends after " + std::to_string(bytes_.size()) + " bytes",
           std::to_string(size) + " more from byte " + std::to_string(place_) +
               ": the file is cut off or damaged");
  const auto taken = bytes_.subspan(place_, size);
  place_ += size;
  return taken;
}

std::string GgufCursor::text() {
  const auto bytes = take(number<uint64_t>());
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

uint64_t GgufCursor::count(uint64_t size, const std::string& what) {
  const auto count = number<uint64_t>();
  const uint64_t most = (bytes_.size() - place_) / size;
  if (count > most)
    refuse(std::to_string(count) + " " + what,
           "at most the " + std::to_string(most) + " that the file has room for");
  return count;
}

GgufValue read_gguf_value(GgufCursor& cursor, const std::string& key) {
  const auto type = cursor.number<uint32_t>();
  return type == kGgufList ? gguf_list(cursor, key) : gguf_number(cursor, type, key);
}

}  // namespace tiller
