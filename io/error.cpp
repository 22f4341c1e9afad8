#include "io/error.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string_view>
#include <utility>

namespace tiller {
namespace {

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, substituted}));
    }
  }
  return row.back();
}

/// The bytes of the UTF-8 character that `text` begins with; 0 where it begins with none, or with
/// one that controls a terminal (C0, DEL, C1).
size_t harmless_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 128) return first >= 32 && first != 127;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  uint32_t point = first & (0xff >> (length + 1));
  for (size_t i = 1; i < length; ++i) {
    if (byte(i) >> 6 != 2) return 0;
    point = point << 6 | (byte(i) & 63);
  }
  const uint32_t least = length == 4 ? 0x10000 : length == 3 ? 0x800 : 0xa0;
  const bool surrogate = point >= 0xd800 && point < 0xe000;
  return point < least || point > 0x10ffff || surrogate ? 0 : length;
}

}  // namespace

std::string suggestion(const std::string& word, const std::vector<std::string>& candidates) {
  const std::string* best = nullptr;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const auto& candidate : candidates) {
    const size_t distance = edit_distance(word.substr(0, 64), candidate);
    if (distance < best_distance) best = &candidate, best_distance = distance;
  }
  return best ? " Did you mean '" + *best + "'?" : "";
}

std::string printable(const std::string& text, size_t limit) {
  std::string_view rest(text);
  std::string result;
  while (!rest.empty() && result.size() < limit) {
    const size_t length = harmless_length(rest);
    if (result.size() + length > limit) break;
    result += length ? rest.substr(0, length) : "?";
    rest.remove_prefix(std::max<size_t>(1, length));
  }
  return rest.empty() ? result : result + "...";
}

std::string printable_lines(const std::string& text) {
  std::string result;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find_first_of("\n\t", at), text.size());
    result += printable(text.substr(at, end - at), std::string::npos);
    if (end < text.size()) result += text[end];
    at = end + 1;
  }
  return result;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

std::string enumerate(const std::vector<std::string>& items, size_t limit) {
  std::string text;
  const size_t shown = std::min(items.size(), limit);
  for (size_t i = 0; i < shown; ++i) {
    if (i) text += i + 1 == items.size() ? " and " : ", ";
    text += items[i];
  }
  if (shown < items.size()) text += " and " + std::to_string(items.size() - shown) + " more";
  return text;
}

}  // namespace tiller
