#include "training/archive_text.h"

#include <ATen/ATen.h>

#include <charconv>
#include <set>

#include "io/error.h"
#include "io/json.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

constexpr size_t kTextLimit = 1 << 16;
constexpr int64_t kMostClasses = 1'000'000;

/// "shard/000.seg.jpg": "shard/000", as webdataset cuts names at their first dot.
std::string key_of(const std::string& name) {
  const size_t slash = name.rfind('/'), from = slash == name.npos ? 0 : slash + 1;
  return name.substr(0, name.find('.', from));
}

std::string trimmed(std::string text) {
  const char* blanks = " \t\r\n";
  text.erase(text.find_last_not_of(blanks) + 1);
  return text.erase(0, std::min(text.find_first_not_of(blanks), text.size()));
}

int64_t class_from(const std::string& file, const std::string& digits) {
  int64_t number = -1;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, number);
  if (error != std::errc() || stop != end || number < 0 || number >= kMostClasses)
    throw Error(printable(file) + ": got '" + printable(digits) +
                "', expected the number of a class from 0 on.");
  return number;
}

/// Values in the images' order. `what` for the message.
template <class Value>
std::vector<Value> values_for(const Dataset& data, const std::map<std::string, Value>& by_key,
                              const fs::path& path, const std::string& what) {
  std::vector<Value> values;
  for (const auto& name : data.names) {
    const auto found = by_key.find(key_of(name));
    if (found == by_key.end())
      throw Error(path.string() + ": got " + what + " for some images but none for " +
                  printable(name) + ", expected one for each.");
    values.push_back(found->second);
  }
  return values;
}

}  // namespace

void ArchiveText::read(const std::string& name, ArchiveReader& reader) {
  const std::string ending = fs::path(name).extension().string();
  if (ending != ".txt" && ending != ".cls" && ending != ".json") return;
  if (reader.size() > int64_t(kTextLimit)) return;
  const std::string text = trimmed(reader.read(kTextLimit)), key = key_of(name);
  if (ending == ".txt") captions_[key] = text;
  if (ending == ".cls") classes_[key] = {name, text};
  if (ending == ".json") read_json(name, key, text);
}

void ArchiveText::read_json(const std::string& name, const std::string& key,
                            const std::string& text) {
  const Json json = parse_json(text);
  if (!json.is_object()) return;
  for (const char* field : {"caption", "text"})
    if (json.contains(field) && json[field].is_string()) captions_[key] = json[field];
  for (const char* field : {"label", "cls"})
    if (json.contains(field) && json[field].is_number_integer())
      classes_[key] = {name, json[field].dump()};
}

void ArchiveText::keep_beside(const std::vector<std::string>& images) {
  std::set<std::string> keys;
  for (const auto& image : images) keys.insert(key_of(image));
  const auto stray = [&](const auto& entry) { return !keys.contains(entry.first); };
  std::erase_if(captions_, stray);
  std::erase_if(classes_, stray);
}

void ArchiveText::add_to(Dataset& data, const fs::path& path) const {
  if (!captions_.empty()) data.captions = values_for(data, captions_, path, "captions");
  if (classes_.empty()) return;
  std::vector<int64_t> labels;
  for (const auto& [file, digits] : values_for(data, classes_, path, "classes"))
    labels.push_back(class_from(file, digits));
  data.labels = at::tensor(labels, at::kLong);
}

}  // namespace tiller
