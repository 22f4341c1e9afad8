#include <zlib.h>

#include <algorithm>
#include <array>

#include "io/error.h"
#include "io/json.h"
#include "io/shared_file.h"
#include "models/clip_tokenizer.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

constexpr size_t max_file_bytes = size_t{1} << 26;
constexpr int64_t max_id = int64_t{1} << 24;
constexpr size_t clip_merges = 49152 - 256 - 2;

[[noreturn]] void refuse(const std::string& where, const std::string& got,
                         const std::string& expected) {
  throw Error(where + ": got " + got + ", expected " + expected + ".");
}

std::string quoted(const Json& value) {
  return printable(value.dump(-1, ' ', true, Json::error_handler_t::replace), 60);
}

Json parse_object(const std::string& text, const std::string& file) {
  const Json json = parse_json(text);
  if (!json.is_object()) refuse(file, "text that is no JSON object", "a tokenizer's file");
  return json;
}

Bpe::Ids ids_from(const Json& json, const std::string& file) {
  if (!json.is_object()) refuse(file, quoted(json), "tokens with their ids");
  Bpe::Ids ids;
  for (const auto& [token, id] : json.items()) {
    const bool fits = id.is_number_unsigned() && id.get<uint64_t>() < uint64_t{max_id};
    if (!fits)
      refuse(file, "'" + printable(token) + "': " + quoted(id),
             "an id from 0 to " + std::to_string(max_id - 1));
    ids[token] = id.get<int64_t>();
  }
  return ids;
}

std::pair<std::string, std::string> merge_from(std::string_view line, const std::string& file) {
  const size_t space = line.find(' ');
  if (space == 0 || space == std::string_view::npos || space + 1 == line.size() ||
      line.find(' ', space + 1) != std::string_view::npos)
    refuse(file, "'" + printable(std::string(line)) + "'", "two tokens with a space between");
  return {std::string(line.substr(0, space)), std::string(line.substr(space + 1))};
}

/// Calls `take` for each line, without its end.
template <typename Take>
void for_each_line(std::string_view text, const Take& take) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    take(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

Bpe::Merges merges_from(std::string_view text, const std::string& file) {
  Bpe::Merges merges;
  for_each_line(text, [&](std::string_view line) {
    if (!line.empty() && !line.starts_with("#version")) merges.push_back(merge_from(line, file));
  });
  return merges;
}

/// Either of the two forms that tokenizer.json has them in: "a b" or ["a", "b"].
Bpe::Merges merges_from(const Json& json, const std::string& file) {
  Bpe::Merges merges;
  if (!json.is_array()) refuse(file, "merges " + quoted(json), "a list");
  for (const auto& merge : json) {
    const bool is_pair =
        merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string();
    if (is_pair)
      merges.emplace_back(merge[0], merge[1]);
    else if (merge.is_string())
      merges.push_back(merge_from(merge.get_ref<const std::string&>(), file));
    else
      refuse(file, "the merge " + quoted(merge), "two tokens");
  }
  return merges;
}

/// A token as configs have it: its text (then sought as it stands), or an object with flags.
AddedToken token_from(const Json& json, const std::string& where) {
  AddedToken token;
  const Json* content = &json;
  if (json.is_object()) {
    const auto found = json.find("content"), flag = json.find("normalized");
    if (found != json.end()) content = &*found;
    token.normalized = flag != json.end() && flag->is_boolean() && flag->get<bool>();
  }
  if (!content->is_string() || content->get_ref<const std::string&>().empty())
    refuse(where, quoted(json), "a token");
  token.content = content->get<std::string>();
  return token;
}

int64_t added_id(const Json& id, const std::string& where) {
  const bool fits = id.is_number_unsigned() && id.get<uint64_t>() < uint64_t{max_id};
  if (!fits) refuse(where, quoted(id), "an id from 0 to " + std::to_string(max_id - 1));
  return id.get<int64_t>();
}

void read_tokenizer(const std::string& text, ClipVocabulary& vocabulary) {
  const std::string file = vocabulary.file + "/tokenizer.json";
  const Json json = parse_object(text, file);
  const Json model = json.value("model", Json::object());
  if (!model.is_object() || model.value("end_of_word_suffix", Json()) != "</w>")
    refuse(file, "a tokenizer of another kind", "CLIP's byte-pair encoding with '</w>'");
  vocabulary.ids = ids_from(model.value("vocab", Json()), file);
  vocabulary.merges = merges_from(model.value("merges", Json()), file);
  const Json added = json.value("added_tokens", Json::array());
  if (!added.is_array()) refuse(file, "added_tokens " + quoted(added), "a list");
  for (const auto& entry : added) {
    AddedToken token = token_from(entry, file + ": added_tokens");
    if (entry.is_object() && entry.contains("id")) token.id = added_id(entry["id"], file);
    vocabulary.added.push_back(std::move(token));
  }
}

/// The config's tokens beyond the special ones, in the order of their ids.
std::vector<AddedToken> configured_tokens(const Json& config, const std::string& file) {
  std::vector<AddedToken> tokens;
  const auto& listed = config.at("added_tokens_decoder");
  if (!listed.is_object()) refuse(file, "added_tokens_decoder " + quoted(listed), "an object");
  for (const auto& [id, entry] : listed.items()) {
    tokens.push_back(token_from(entry, file + ": added_tokens_decoder"));
    tokens.back().id = added_id(parse_json(id), file + ": added_tokens_decoder");
  }
  std::sort(tokens.begin(), tokens.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  return tokens;
}

/// Tokens of added_tokens.json. Those that aren't special are sought in normalised text.
void read_added_tokens(const std::string& text, ClipVocabulary& vocabulary,
                       const std::vector<AddedToken>& special) {
  const std::string file = vocabulary.file + "/added_tokens.json";
  const Json json = parse_object(text, file);
  for (const auto& [content, id] : json.items()) {
    const bool is_special =
        std::any_of(special.begin(), special.end(),
                    [&name = content](const auto& token) { return token.content == name; });
    vocabulary.added.push_back({content, added_id(id, file), !is_special});
  }
}

/// The special tokens of a config, where it names them, over those that `special` holds: begin,
/// end, unknown and pad.
void override_special(const Json& config, const std::string& file,
                      std::vector<AddedToken>& special) {
  static const char* const keys[] = {"bos_token", "eos_token", "unk_token", "pad_token"};
  for (size_t i = 0; i < special.size(); ++i) {
    const auto found = config.find(keys[i]);
    if (found != config.end() && !found->is_null())
      special[i] = token_from(*found, file + ": " + keys[i]);
  }
}

/// Longer lengths than a text encoder can have stand for "not known" in these files.
int64_t length_from(const Json& config, const std::string& file) {
  constexpr int64_t usual = 77, longest = 100000;
  const Json value = config.value("model_max_length", Json());
  if (value.is_null()) return usual;
  const double length = value.is_number() ? value.get<double>() : 0;
  if (!(length >= 3)) refuse(file + ": model_max_length", quoted(value), "at least 3");
  return length > double{longest} ? usual : static_cast<int64_t>(length);
}

/// The special tokens as transformers merges them from the files; those that the list of added
/// tokens names take its flags.
void read_special(const ClipVocabularyTexts& texts, ClipVocabulary& vocabulary) {
  std::vector<AddedToken> special;
  for (const auto& token : {vocabulary.begin, vocabulary.end, vocabulary.unknown, vocabulary.pad})
    special.push_back({token});
  const std::string file = texts.file + "/tokenizer_config.json";
  const Json config = texts.config.empty() ? Json::object() : parse_object(texts.config, file);
  vocabulary.max_length = length_from(config, file);
  override_special(config, file, special);
  if (config.contains("added_tokens_decoder")) {
    vocabulary.added = configured_tokens(config, file);
  } else {
    const std::string map = texts.file + "/special_tokens_map.json";
    if (!texts.special_tokens.empty())
      override_special(parse_object(texts.special_tokens, map), map, special);
    if (!texts.added_tokens.empty()) read_added_tokens(texts.added_tokens, vocabulary, special);
  }
  const auto listed = vocabulary.added;
  for (const auto& token : special) {
    const auto same = std::find_if(listed.rbegin(), listed.rend(), [&](const auto& other) {
      return other.content == token.content;
    });
    vocabulary.added.push_back(same == listed.rend() ? token : *same);
  }
  vocabulary.begin = special[0].content;
  vocabulary.end = special[1].content;
  vocabulary.unknown = special[2].content;
  vocabulary.pad = special[3].content;
}

std::string text_of(const fs::path& path) {
  return fs::is_regular_file(path) ? read_file(path, max_file_bytes) : "";
}

/// A file's text, unpacked where it is gzip.
std::string read_gzip(const fs::path& path) {
  std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  if (!file) refuse(path.string(), "a file that can't be opened", "CLIP's vocabulary");
  std::string text;
  std::array<char, 1 << 16> buffer;
  int count = 0;
  while ((count = gzread(file.get(), buffer.data(), buffer.size())) > 0) {
    text.append(buffer.data(), static_cast<size_t>(count));
    if (text.size() > max_file_bytes) refuse(path.string(), "a longer text", "CLIP's vocabulary");
  }
  if (gzclose(file.release()) != Z_OK || count < 0)
    refuse(path.string(), "a damaged or cut off file", "CLIP's vocabulary");
  return text;
}

}  // namespace

ClipVocabulary parse_clip_vocabulary(const ClipVocabularyTexts& texts) {
  ClipVocabulary vocabulary;
  vocabulary.file = texts.file;
  if (!texts.tokenizer.empty()) {
    read_tokenizer(texts.tokenizer, vocabulary);
  } else {
    const std::string file = texts.file + "/vocab.json";
    vocabulary.ids = ids_from(parse_object(texts.vocab, file), file);
    vocabulary.merges = merges_from(std::string_view(texts.merges), texts.file + "/merges.txt");
  }
  read_special(texts, vocabulary);
  return vocabulary;
}

ClipVocabulary parse_clip_merge_list(std::string_view text, const std::string& file,
                                     const std::string& pad) {
  ClipVocabulary vocabulary;
  vocabulary.file = file;
  vocabulary.pad = pad;
  text.remove_prefix(std::min(text.find('\n'), text.size()));
  auto& ids = vocabulary.ids;
  const auto number = [&](const std::string& token) {
    ids.try_emplace(token, static_cast<int64_t>(ids.size()));
  };
  for (const uint8_t byte : byte_order()) number(byte_names()[byte]);
  for (const uint8_t byte : byte_order()) number(byte_names()[byte] + "</w>");
  for_each_line(text, [&](std::string_view line) {
    if (!line.empty() && vocabulary.merges.size() < clip_merges)
      vocabulary.merges.push_back(merge_from(line, file));
  });
  for (const auto& [left, right] : vocabulary.merges) number(left + right);
  number(vocabulary.begin);
  number(vocabulary.end);
  vocabulary.added = {{vocabulary.begin, -1, true}, {vocabulary.end, -1, true}, {pad}};
  return vocabulary;
}

ClipVocabulary read_clip_vocabulary(const fs::path& path, const std::string& pad) {
  if (fs::is_regular_file(path)) return parse_clip_merge_list(read_gzip(path), path.string(), pad);
  const ClipVocabularyTexts texts = {path.string(),
                                     text_of(path / "tokenizer.json"),
                                     text_of(path / "vocab.json"),
                                     text_of(path / "merges.txt"),
                                     text_of(path / "tokenizer_config.json"),
                                     text_of(path / "special_tokens_map.json"),
                                     text_of(path / "added_tokens.json")};
  if (texts.tokenizer.empty() && (texts.vocab.empty() || texts.merges.empty()))
    refuse(path.string(), "a folder without a tokenizer",
           "tokenizer.json, or vocab.json and merges.txt");
  return parse_clip_vocabulary(texts);
}

fs::path find_clip_vocabulary() {
  return find_shared_file(fs::path("clip") / "bpe_simple_vocab_16e6.txt.gz", "CLIP's vocabulary",
                          "Run scripts/clip_vocabulary.sh in the sources.");
}

}  // namespace tiller
