#include "models/clip_unicode.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <array>

#include "io/error.h"

namespace tiller {
namespace {

struct Range {
  UChar32 first, last;
};

/// Letters and digits of Unicode 15.1 and 16, which ICU knows from 74 and 76 on.
constexpr Range kNewLetters[] = {
    {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3},
    {0x10D4A, 0x10D65}, {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x11380, 0x11389},
    {0x1138B, 0x1138B}, {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113B7},
    {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0}, {0x13460, 0x143FA},
    {0x16100, 0x1611D}, {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF}, {0x1E5D0, 0x1E5ED},
    {0x1E5F0, 0x1E5F0}, {0x2EBF0, 0x2EE5D}};
constexpr Range kNewDigits[] = {{0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9},
                                {0x16130, 0x16139}, {0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9},
                                {0x1E5F1, 0x1E5FA}};

/// Capitals of Unicode 16 and 17 and how far their small letters lie from them.
struct CaseRange {
  UChar32 first, last, offset;
};
constexpr CaseRange kNewCapitals[] = {{0x1C89, 0x1C89, 1},      {0xA7CB, 0xA7CB, 0x264 - 0xA7CB},
                                      {0xA7CC, 0xA7CC, 1},      {0xA7CE, 0xA7CE, 1},
                                      {0xA7D2, 0xA7D2, 1},      {0xA7D4, 0xA7D4, 1},
                                      {0xA7DA, 0xA7DA, 1},      {0xA7DC, 0xA7DC, 0x19B - 0xA7DC},
                                      {0x10D50, 0x10D65, 0x20}, {0x16EA0, 0x16EB8, 0x1B}};

template <size_t N>
bool within(const Range (&ranges)[N], UChar32 c) {
  return std::any_of(std::begin(ranges), std::end(ranges),
                     [c](const Range& range) { return range.first <= c && c <= range.last; });
}

enum class Kind { letter, digit, space, other };

Kind kind_of(UChar32 c) {
  const uint32_t type = U_MASK(u_charType(c));
  if (type & U_GC_L_MASK) return Kind::letter;
  if (type & U_GC_N_MASK) return Kind::digit;
  if (u_isUWhiteSpace(c)) return Kind::space;
  if (type & U_GC_CN_MASK) {
    if (within(kNewLetters, c)) return Kind::letter;
    if (within(kNewDigits, c)) return Kind::digit;
  }
  return Kind::other;
}

bool is_word_character(UChar32 c) {
  const Kind kind = kind_of(c);
  return kind == Kind::letter || kind == Kind::digit || c == '_';
}

/// The character at `position`, which moves behind it. Negative: not UTF-8.
UChar32 next(std::string_view text, size_t& position) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  UChar32 c;
  U8_NEXT(bytes, position, text.size(), c);
  return c;
}

UChar32 character_before(std::string_view text, size_t position) {
  if (position == 0) return ' ';
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  auto end = static_cast<int32_t>(position);
  UChar32 c;
  U8_PREV(bytes, 0, end, c);
  return c;
}

UChar32 character_at(std::string_view text, size_t position) {
  return position < text.size() ? next(text, position) : ' ';
}

void append(std::string& text, UChar32 c) {
  std::array<char, U8_MAX_LENGTH> bytes;
  size_t count = 0;
  U8_APPEND_UNSAFE(bytes.data(), count, c);
  text.append(bytes.data(), count);
}

UChar32 lower(UChar32 c) {
  if (c >= 0x1C89 && u_charType(c) == U_UNASSIGNED)
    for (const auto& range : kNewCapitals)
      if (range.first <= c && c <= range.last) return c + range.offset;
  return u_tolower(c);
}

const icu::Normalizer2& composition() {
  static const icu::FilteredNormalizer2 normalizer = [] {
    UErrorCode status = U_ZERO_ERROR;
    static const icu::UnicodeSet known(u"[:age=9.0:]", status);
    const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(status);
    if (U_FAILURE(status))
      throw Error(std::string("ICU's data: got ") + u_errorName(status) +
                  ", expected the Unicode data that its package installs.");
    return icu::FilteredNormalizer2(*nfc, known);
  }();
  return normalizer;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<signed char>(c) >= 0; });
}

std::string composed(std::string_view text) {
  if (is_ascii(text)) return std::string(text);
  UErrorCode status = U_ZERO_ERROR;
  std::string result;
  icu::StringByteSink<std::string> sink(&result, static_cast<int32_t>(text.size()));
  composition().normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())),
                              sink, nullptr, status);
  if (U_FAILURE(status)) throw Error(std::string("prompt: ICU: ") + u_errorName(status) + ".");
  return result;
}

/// The contraction or marker at the front of the text, or an empty piece.
std::string_view fixed_word(std::string_view text) {
  static constexpr std::string_view words[] = {
      "<|startoftext|>", "<|endoftext|>", "'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
  for (const auto word : words)
    if (text.starts_with(word)) return text.substr(0, word.size());
  return {};
}

/// Behind the word of letters or of other characters that starts at `position`.
size_t end_of_run(std::string_view text, size_t position, Kind kind) {
  while (position < text.size()) {
    size_t behind = position;
    if (kind_of(next(text, behind)) != kind) break;
    position = behind;
  }
  return position;
}

}  // namespace

void check_utf8(std::string_view text, const std::string& where) {
  constexpr size_t max_bytes = size_t{1} << 24;
  if (text.size() > max_bytes)
    throw Error(where + ": got a text of " + std::to_string(text.size()) +
                " bytes, expected at most " + std::to_string(max_bytes) + ".");
  for (size_t position = 0; position < text.size();) {
    const size_t start = position;
    if (next(text, position) >= 0) continue;
    static constexpr char digits[] = "0123456789abcdef";
    const auto byte = static_cast<uint8_t>(text[start]);
    throw Error(where + ": got the byte 0x" + digits[byte >> 4] + digits[byte & 15] +
                " at position " + std::to_string(start) +
                ", expected UTF-8. Save or type the text in that encoding.");
  }
}

std::string repaired_utf8(std::string_view text) {
  constexpr UChar32 replacement = 0xFFFD;
  std::string result;
  for (size_t position = 0; position < text.size();) {
    const UChar32 c = next(text, position);
    append(result, c < 0 ? replacement : c);
  }
  return result;
}

std::string clip_normalized(std::string_view text) {
  const std::string whole = composed(text);
  std::string result;
  result.reserve(whole.size());
  bool in_space = false;
  for (size_t position = 0; position < whole.size();) {
    const UChar32 c = next(whole, position);
    const bool space = u_isUWhiteSpace(c);
    if (!space)
      append(result, lower(c));
    else if (!in_space)
      result += ' ';
    constexpr UChar32 capital_i_with_dot = 0x130, combining_dot = 0x307;
    if (c == capital_i_with_dot) append(result, combining_dot);
    in_space = space;
  }
  return result;
}

void for_each_clip_word(std::string_view text, const std::function<void(std::string_view)>& word) {
  for (size_t position = 0; position < text.size();) {
    if (const auto fixed = fixed_word(text.substr(position)); !fixed.empty()) {
      // CLIP's pattern takes a marker as one piece, and GPT-2's, which comes after it, cuts it.
      const bool marker = fixed[0] == '<';
      if (marker) word("<|");
      word(marker ? fixed.substr(2, fixed.size() - 4) : fixed);
      if (marker) word("|>");
      position += fixed.size();
      continue;
    }
    size_t end = position;
    const Kind kind = kind_of(next(text, end));
    if (kind == Kind::letter || kind == Kind::other) end = end_of_run(text, end, kind);
    if (kind != Kind::space) word(text.substr(position, end - position));
    position = end;
  }
}

bool letter_before(std::string_view text, size_t position) {
  return kind_of(character_before(text, position)) == Kind::letter;
}

bool letter_at(std::string_view text, size_t position) {
  return kind_of(character_at(text, position)) == Kind::letter;
}

bool word_character_before(std::string_view text, size_t position) {
  return is_word_character(character_before(text, position));
}

bool word_character_at(std::string_view text, size_t position) {
  return is_word_character(character_at(text, position));
}

}  // namespace tiller
