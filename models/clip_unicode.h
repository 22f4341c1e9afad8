#pragma once
#include <functional>
#include <string>
#include <string_view>

namespace tiller {

/// Throws Error starting with `where` unless the text is UTF-8, naming the first byte that isn't.
void check_utf8(std::string_view text, const std::string& where);

/// The text with U+FFFD in place of what isn't UTF-8.
std::string repaired_utf8(std::string_view text);

/// The text as CLIP's tokenizer sees it: composed (NFC), every run of white space one space, lower
/// case. Takes UTF-8. The rules are those of the `tokenizers` package, character by character and
/// independent of the installed ICU: composition of Unicode 9, classes of Unicode 16.
std::string clip_normalized(std::string_view text);

/// Calls `word` for each piece that CLIP's byte-pair encoding takes as one word: contractions
/// ('s 't 're 've 'm 'll 'd), runs of letters, single digits, runs of anything else that isn't
/// white space. Takes normalised UTF-8.
void for_each_clip_word(std::string_view text, const std::function<void(std::string_view)>& word);

/// Whether the character that ends before, or starts at, byte `position` is a letter.
bool letter_before(std::string_view text, size_t position);
bool letter_at(std::string_view text, size_t position);

/// Whether the character that ends before, or starts at, byte `position` is a letter, a digit or an
/// underscore, as \w of regular expressions.
bool word_character_before(std::string_view text, size_t position);
bool word_character_at(std::string_view text, size_t position);

}  // namespace tiller
