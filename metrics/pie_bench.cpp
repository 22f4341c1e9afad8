#include "metrics/pie_bench.h"

#include <ATen/ATen.h>

#include <sstream>

#include "io/error.h"
#include "io/json.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

constexpr size_t file_limit = size_t{1} << 28, text_limit = 4096, edit_limit = 100'000;
constexpr int64_t pixels = pie_side * pie_side;

/// An edit's object, and how messages about it begin.
struct Entry {
  const Json& json;
  std::string where;

  [[noreturn]] void refuse(const std::string& key, const Json& got,
                           const std::string& expected) const {
    throw Error(where + ": " + key + ": got " + printable(got.dump(-1, ' ', true), 60) +
                ", expected " + expected + ".");
  }
  const Json& at(const std::string& key) const {
    const auto found = json.find(key);
    if (found == json.end()) refuse(key, nullptr, "a value");
    return *found;
  }
  std::string text(const std::string& key) const {
    const Json& value = at(key);
    if (!value.is_string() || value.get_ref<const std::string&>().size() > text_limit)
      refuse(key, value, "a text of at most " + std::to_string(text_limit) + " bytes");
    return value.get<std::string>();
  }
};

/// A prompt without its brackets, and what they held.
struct Prompt {
  std::string text;
  std::vector<std::string> words;
};

Prompt prompt_at(const Entry& entry, const std::string& key) {
  const std::string marked = entry.text(key);
  Prompt prompt;
  bool inside = false;
  for (const char c : marked) {
    if (c == '[' || c == ']') {
      if (inside == (c == '[')) entry.refuse(key, marked, "each [ followed by its ]");
      inside = c == '[';
      if (inside) prompt.words.emplace_back();
      continue;
    }
    prompt.text += c;
    if (inside) prompt.words.back() += c;
  }
  if (inside) entry.refuse(key, marked, "each [ followed by its ]");
  return prompt;
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

/// Written as "3" or 3.
int64_t type_of(const Entry& entry) {
  const std::string key = "editing_type_id";
  const Json& value = entry.at(key);
  const int64_t types = std::ssize(pie_edit_types());
  int64_t type = -1;
  if (value.is_number_integer()) type = value.get<int64_t>();
  if (value.is_string() && value.get_ref<const std::string&>().size() == 1)
    type = value.get_ref<const std::string&>()[0] - '0';
  if (type < 0 || type >= types) entry.refuse(key, value, "0 to " + std::to_string(types - 1));
  return type;
}

/// A path below the folder, without detours.
fs::path image_path(const Entry& entry, const fs::path& folder) {
  const std::string name = entry.text("image_path");
  const fs::path path = fs::path(name).lexically_normal();
  if (name.empty() || path.is_absolute() || *path.begin() == "..")
    entry.refuse("image_path", name, "a file below the folder");
  const fs::path usual = folder / "annotation_images" / path;
  return fs::exists(usual) || !fs::exists(folder / path) ? usual : folder / path;
}

/// Runs that end behind the image's end are cut off there, as the authors do.
std::vector<std::pair<int64_t, int64_t>> runs_of(const Entry& entry) {
  const Json& mask = entry.at("mask");
  if (!mask.is_array() || mask.size() % 2 || mask.size() > size_t(pixels))
    entry.refuse("mask", mask, "pairs of a start and a length");
  std::vector<std::pair<int64_t, int64_t>> runs;
  for (size_t i = 0; i < mask.size(); i += 2) {
    for (size_t part = i; part < i + 2; ++part)
      if (!mask[part].is_number_integer() || mask[part].get<int64_t>() < 0 ||
          mask[part].get<int64_t>() > pixels)
        entry.refuse("mask[" + std::to_string(part) + "]", mask[part],
                     "0 to " + std::to_string(pixels));
    const auto start = mask[i].get<int64_t>(), length = mask[i + 1].get<int64_t>();
    runs.emplace_back(start, std::min(length, pixels - start));
  }
  return runs;
}

PieEdit edit_from(const Entry& entry, const std::string& key, const fs::path& folder) {
  if (!entry.json.is_object())
    throw Error(entry.where + ": got " + entry.json.type_name() + ", expected an edit's object.");
  PieEdit edit;
  edit.key = key;
  edit.image = image_path(entry, folder);
  Prompt source = prompt_at(entry, "original_prompt"), target = prompt_at(entry, "editing_prompt");
  edit.source = std::move(source.text);
  edit.source_words = std::move(source.words);
  edit.target = std::move(target.text);
  edit.target_words = std::move(target.words);
  if (entry.json.contains("blended_word"))
    edit.blended_words = words_of(entry.text("blended_word"));
  edit.type = type_of(entry);
  edit.runs = runs_of(entry);
  return edit;
}

}  // namespace

const std::vector<std::string>& pie_edit_types() {
  static const std::vector<std::string> types = {
      "random",      "change object", "add object",      "delete object",     "change content",
      "change pose", "change colour", "change material", "change background", "change style"};
  return types;
}

Tensor pie_mask(const PieEdit& edit) {
  const Tensor mask = at::zeros({pixels}, at::kFloat);
  for (const auto& [start, length] : edit.runs) mask.narrow(0, start, length).fill_(1);
  const Tensor square = mask.view({pie_side, pie_side});
  for (const int64_t dim : {0, 1})
    for (const int64_t edge : {int64_t{0}, pie_side - 1}) square.select(dim, edge).fill_(1);
  return square;
}

std::vector<PieEdit> read_pie_bench(const fs::path& folder) {
  const fs::path file = folder / "mapping_file.json";
  const Json json = parse_json_object(read_file(file, file_limit), file.string());
  if (json.empty() || json.size() > edit_limit)
    throw Error(file.string() + ": got " + std::to_string(json.size()) + " edits, expected 1 to " +
                std::to_string(edit_limit) + ".");
  std::vector<PieEdit> edits;
  for (const auto& [key, value] : json.items())
    edits.push_back(edit_from({value, file.string() + ": " + printable(key, 40)}, key, folder));
  return edits;
}

}  // namespace tiller
