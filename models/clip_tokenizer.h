#pragma once
#include <array>

#include "io/file.h"
#include "models/bpe.h"

namespace tiller {

/// A token that is sought in the text itself, before byte-pair encoding.
struct AddedToken {
  std::string content;
  int64_t id = -1;          ///< Negative: its id in the vocabulary, else the next one.
  bool normalized = false;  ///< Sought in the normalised text, so in any case.
  int64_t count = 1;        ///< Stands for the ids id, id + 1, ..., id + count - 1.
  bool whole = false;       ///< Not inside a longer run of letters.
};

/// What a CLIP tokenizer is made of.
struct ClipVocabulary {
  std::string file;  ///< For messages.
  Bpe::Ids ids;
  Bpe::Merges merges;
  std::vector<AddedToken> added;  ///< Of several with one content the last counts.
  std::string begin = "<|startoftext|>", end = "<|endoftext|>";
  std::string pad = "<|endoftext|>";  ///< Stable Diffusion 2 and SDXL's second tokenizer: "!".
  std::string unknown = "<|endoftext|>";
  int64_t max_length = 77;
};

/// Reads a diffusers tokenizer folder (tokenizer.json, or vocab.json and merges.txt; the special
/// tokens of tokenizer_config.json, special_tokens_map.json and added_tokens.json as transformers
/// merges them), or a file in the form of CLIP's bpe_simple_vocab_16e6.txt.gz, for which `pad` says
/// with what to pad ("!" for Stable Diffusion 2 and SDXL's second tokenizer). Throws Error.
ClipVocabulary read_clip_vocabulary(const fs::path& folder_or_file,
                                    const std::string& pad = "<|endoftext|>");

/// The same from the files' texts; empty ones aren't there. `file` is for messages.
struct ClipVocabularyTexts {
  std::string file, tokenizer, vocab, merges, config, special_tokens, added_tokens;
};
ClipVocabulary parse_clip_vocabulary(const ClipVocabularyTexts&);

/// The text of bpe_simple_vocab_16e6.txt: a line of title, then the merges, of which CLIP uses the
/// first 48894.
ClipVocabulary parse_clip_merge_list(std::string_view text, const std::string& file,
                                     const std::string& pad = "<|endoftext|>");

/// CLIP's own vocabulary as `make` fetches it and `make install` copies it. Throws Error that says
/// what to run when it isn't there.
fs::path find_clip_vocabulary();

/// CLIP's byte-pair encoding, with the ids of transformers' CLIPTokenizer. Constant after
/// construction but for `add_placeholder`.
class ClipTokenizer {
 public:
  explicit ClipTokenizer(ClipVocabulary);

  /// The ids of a text, without begin and end. Throws Error when it isn't UTF-8.
  std::vector<int64_t> encode(std::string_view text) const;
  /// The text of ids, in lower case; unknown ones are left out.
  std::string decode(const std::vector<int64_t>& ids) const;

  int64_t begin() const { return begin_; }
  int64_t end() const { return end_; }
  int64_t pad() const { return pad_; }
  /// Ids a chunk has, with begin and end; 77.
  size_t max_length() const { return max_length_; }
  /// The id of a token of the vocabulary ("fox</w>"), or -1.
  int64_t id(const std::string& token) const;
  /// Whether a new word begins behind this token: one of the vocabulary's "</w>", the begin or a
  /// placeholder.
  bool ends_word(int64_t id) const;
  /// One more than the highest id.
  int64_t size() const { return size_; }

  /// Makes a textual inversion's token stand for `count` ids from `first` on, in any case. Throws
  /// Error when the token is there already.
  void add_placeholder(const std::string& token, int64_t first, int64_t count);
  /// How many ids belong together from this one on: a placeholder's count, else 1.
  int64_t count(int64_t id) const;

 private:
  /// Added tokens by their first byte, longest first.
  struct Finder {
    std::array<std::vector<AddedToken>, 256> tokens;

    void add(const AddedToken&);
    void remove(const std::string& content);
    bool has(const std::string& content) const;
    const AddedToken* at(std::string_view text, size_t position) const;
  };
  void add(AddedToken);
  void encode_normalized(std::string_view text, std::vector<int64_t>& ids) const;

  Bpe::Ids ids_;
  Bpe bpe_;
  Finder raw_, normalized_;
  std::unordered_map<int64_t, std::string> texts_;
  std::unordered_map<int64_t, int64_t> counts_;
  int64_t begin_, end_, pad_, size_ = 0;
  size_t max_length_;
};

}  // namespace tiller
