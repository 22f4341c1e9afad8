#include "models/clip_tokenizer.h"

#include <algorithm>

#include "io/error.h"
#include "models/clip_unicode.h"

namespace tiller {
namespace {

constexpr std::string_view word_end = "</w>";

/// Cuts the text at the tokens that `find(position)` answers with.
template <typename Find, typename OnText, typename OnToken>
void split(std::string_view text, const Find& find, const OnText& on_text,
           const OnToken& on_token) {
  size_t start = 0;
  for (size_t position = 0; position < text.size();) {
    const AddedToken* token = find(position);
    if (!token) {
      ++position;
      continue;
    }
    on_text(text.substr(start, position - start));
    on_token(*token);
    start = position += token->content.size();
  }
  on_text(text.substr(start));
}

void append(const AddedToken& token, std::vector<int64_t>& ids) {
  for (int64_t i = 0; i < token.count; ++i) ids.push_back(token.id + i);
}

/// Whether the token at `position` starts and ends where words of letters do.
bool is_whole(std::string_view text, size_t position, std::string_view token) {
  const bool inside_before = letter_at(token, 0) && letter_before(text, position);
  const bool inside_behind =
      letter_before(token, token.size()) && letter_at(text, position + token.size());
  return !inside_before && !inside_behind;
}

/// The bytes that a token of the vocabulary stands for.
std::string bytes_of(std::string_view token) {
  static const auto bytes = [] {
    std::unordered_map<std::string_view, char> bytes;
    for (size_t i = 0; i < 256; ++i) bytes[byte_names()[i]] = static_cast<char>(i);
    return bytes;
  }();
  const bool ends = token.ends_with(word_end);
  if (ends) token.remove_suffix(word_end.size());
  std::string text;
  while (!token.empty()) {
    const size_t size =
        std::min<size_t>(static_cast<uint8_t>(token[0]) < 128 ? 1 : 2, token.size());
    const auto found = bytes.find(token.substr(0, size));
    if (found != bytes.end()) text += found->second;
    token.remove_prefix(size);
  }
  return ends ? text + ' ' : text;
}

/// The ids of the vocabulary and its added tokens, of which those get one that have none.
Bpe::Ids all_ids(ClipVocabulary& vocabulary) {
  Bpe::Ids ids = std::move(vocabulary.ids);
  int64_t next = 0;
  for (const auto& [token, id] : ids) next = std::max(next, id + 1);
  for (auto& token : vocabulary.added) {
    const auto [place, is_new] = ids.try_emplace(token.content, token.id < 0 ? next : token.id);
    token.id = place->second;
    next = std::max(next, token.id + 1);
  }
  return ids;
}

int64_t special_id(const Bpe::Ids& ids, const std::string& token, const std::string& file) {
  const auto found = ids.find(token);
  if (found == ids.end())
    throw Error(file + ": got no token '" + printable(token) + "', expected a CLIP vocabulary.");
  return found->second;
}

}  // namespace

void ClipTokenizer::Finder::add(const AddedToken& token) {
  if (token.content.empty()) return;
  auto& others = tokens[static_cast<uint8_t>(token.content[0])];
  const auto shorter = [&](const AddedToken& other) {
    return other.content.size() < token.content.size();
  };
  others.insert(std::find_if(others.begin(), others.end(), shorter), token);
}

void ClipTokenizer::Finder::remove(const std::string& content) {
  for (auto& others : tokens)
    std::erase_if(others, [&](const AddedToken& other) { return other.content == content; });
}

bool ClipTokenizer::Finder::has(const std::string& content) const {
  return std::any_of(tokens.begin(), tokens.end(), [&](const auto& others) {
    return std::any_of(others.begin(), others.end(),
                       [&](const AddedToken& other) { return other.content == content; });
  });
}

const AddedToken* ClipTokenizer::Finder::at(std::string_view text, size_t position) const {
  const auto& candidates = tokens[static_cast<uint8_t>(text[position])];
  for (const auto& token : candidates)
    if (text.substr(position).starts_with(token.content) &&
        (!token.whole || is_whole(text, position, token.content)))
      return &token;
  return nullptr;
}

ClipTokenizer::ClipTokenizer(ClipVocabulary vocabulary)
    : ids_(all_ids(vocabulary)),
      bpe_(ids_, vocabulary.merges, special_id(ids_, vocabulary.unknown, vocabulary.file),
           vocabulary.file),
      begin_(special_id(ids_, vocabulary.begin, vocabulary.file)),
      end_(special_id(ids_, vocabulary.end, vocabulary.file)),
      pad_(special_id(ids_, vocabulary.pad, vocabulary.file)),
      max_length_(static_cast<size_t>(vocabulary.max_length)) {
  if (max_length_ < 3)
    throw Error(vocabulary.file + ": model_max_length: got " + std::to_string(max_length_) +
                ", expected at least 3.");
  for (const auto& [token, id] : ids_) {
    texts_[id] = bytes_of(token);
    size_ = std::max(size_, id + 1);
  }
  for (auto& token : vocabulary.added)
    if (!token.content.empty()) add(std::move(token));
}

void ClipTokenizer::add(AddedToken token) {
  texts_[token.id] = token.content;
  raw_.remove(token.content);
  if (token.normalized) token.content = clip_normalized(token.content);
  normalized_.remove(token.content);
  (token.normalized ? normalized_ : raw_).add(token);
}

int64_t ClipTokenizer::id(const std::string& token) const {
  const auto found = ids_.find(token);
  return found == ids_.end() ? -1 : found->second;
}

bool ClipTokenizer::ends_word(int64_t id) const {
  const auto found = texts_.find(id);
  return id == begin_ || counts_.contains(id) || found == texts_.end() ||
         found->second.ends_with(' ');
}

std::vector<int64_t> ClipTokenizer::encode(std::string_view text) const {
  check_utf8(text, "prompt");
  std::vector<int64_t> ids;
  split(
      text, [&](size_t position) { return raw_.at(text, position); },
      [&](std::string_view piece) { encode_normalized(clip_normalized(piece), ids); },
      [&](const AddedToken& token) { append(token, ids); });
  return ids;
}

void ClipTokenizer::encode_normalized(std::string_view text, std::vector<int64_t>& ids) const {
  split(
      text, [&](size_t position) { return normalized_.at(text, position); },
      [&](std::string_view piece) {
        for_each_clip_word(piece, [&](std::string_view word) { bpe_.encode(word, ids); });
      },
      [&](const AddedToken& token) { append(token, ids); });
}

std::string ClipTokenizer::decode(const std::vector<int64_t>& ids) const {
  std::string text;
  for (const int64_t id : ids)
    if (const auto found = texts_.find(id); found != texts_.end()) text += found->second;
  const size_t first = text.find_first_not_of(' '), last = text.find_last_not_of(' ');
  return first == std::string::npos ? "" : repaired_utf8(text.substr(first, last - first + 1));
}

void ClipTokenizer::add_placeholder(const std::string& token, int64_t first, int64_t count) {
  check_utf8(token, "the embedding's token");
  const std::string content = clip_normalized(token);
  if (content.empty() || content == " ")
    throw Error("the embedding's token: got an empty one, expected a word.");
  if (normalized_.has(content) || raw_.has(token))
    throw Error("the embedding's token: got '" + printable(token) +
                "', which is taken, expected another for each embedding.");
  add({token, first, /*normalized=*/true, count, /*whole=*/true});
  counts_[first] = count;
  size_ = std::max(size_, first + count);
}

int64_t ClipTokenizer::count(int64_t id) const {
  const auto found = counts_.find(id);
  return found == counts_.end() ? 1 : found->second;
}

}  // namespace tiller
