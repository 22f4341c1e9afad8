#include "io/json.h"

#include "io/error.h"

namespace tiller {
namespace {

/// The text with Python's names of numbers that JSON hasn't got replaced, outside strings.
std::string without_infinities(const std::string& text) {
  std::string cleaned;
  bool quoted = false;
  for (size_t i = 0; i < text.size();) {
    if (quoted && text[i] == '\\' && i + 1 < text.size()) {
      cleaned += text.substr(i, 2);
      i += 2;
      continue;
    }
    if (text[i] == '"') quoted = !quoted;
    size_t length = 0;
    for (const std::string_view word : {"-Infinity", "Infinity", "NaN"})
      if (!quoted && length == 0 && text.compare(i, word.size(), word) == 0) length = word.size();
    cleaned += length ? "null" : std::string(1, text[i]);
    i += std::max<size_t>(1, length);
  }
  return cleaned;
}

}  // namespace

nlohmann::json parse_json_object(const std::string& text, const std::string& where) {
  nlohmann::json json = parse_json(without_infinities(text));
  if (json.is_object()) return json;
  throw Error(where + ": got " +
              (json.is_discarded() ? "'" + printable(text, 40) + "'"
                                   : std::string("JSON that is a ") + json.type_name()) +
              ", expected a JSON object.");
}

nlohmann::json read_json_object(const fs::path& path) {
  return parse_json_object(read_file(path, size_t{1} << 24), path.string());
}

}  // namespace tiller
