#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace tiller {

/// GPT-2's names of the 256 bytes: printable ones stand for themselves, the others for U+0100 on,
/// in UTF-8 (`bytes_to_unicode` in OpenAI's CLIP).
const std::vector<std::string>& byte_names();

/// The bytes in the order in which CLIP numbers them: the printable ones first.
const std::vector<uint8_t>& byte_order();

/// Byte-pair encoding of single words with "</w>" at a word's end.
class Bpe {
 public:
  using Ids = std::unordered_map<std::string, int64_t>;
  using Merges = std::vector<std::pair<std::string, std::string>>;

  /// `unknown` stands for a byte whose name has no id. Throws Error starting with `file` when a
  /// merge or its result has no id.
  Bpe(const Ids&, const Merges&, int64_t unknown, const std::string& file);

  /// Appends the ids of one word. Time grows as n log n with its length.
  void encode(std::string_view word, std::vector<int64_t>& ids) const;

 private:
  class Word;
  struct Merge {
    size_t rank;
    int64_t result;
  };
  const Merge* find(int64_t left, int64_t right) const;

  std::vector<int64_t> bytes_, last_bytes_;
  std::unordered_map<uint64_t, Merge> merges_;
};

}  // namespace tiller
