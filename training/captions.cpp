#include <algorithm>
#include <map>
#include <optional>
#include <sstream>

#include <ATen/ATen.h>

#include "io/error.h"
#include "io/json.h"
#include "training/dataset_formats.h"
#include "training/image_set.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

constexpr const char* kMetadata = "metadata.jsonl";
constexpr size_t kMetadataLimit = size_t{1} << 30;
constexpr size_t kCaptionLimit = 1 << 16;

/// What a line of metadata.jsonl says.
struct Row {
  std::string caption, group;
};

/// The key's text; "" where the line hasn't got the key.
std::string text_at(const Json& json, const std::string& key, const std::string& where) {
  const auto found = json.find(key);
  if (found == json.end() || found->is_null()) return "";
  if (found->is_string()) return found->get<std::string>();
  throw Error(where + ": " + key + ": got " + printable(found->dump()) + ", expected a text.");
}

/// A path below the folder, without detours.
std::string file_name_at(const Json& json, const std::string& where) {
  const std::string name = text_at(json, "file_name", where);
  const fs::path path = fs::path(name).lexically_normal();
  if (name.empty() || path.is_absolute() || *path.begin() == "..")
    throw Error(where + ": file_name: got '" + printable(name) +
                "', expected an image's name in this folder.");
  return path.string();
}

using Metadata = std::map<std::string, Row>;

void read_row(const std::string& line, const std::string& where, Metadata& rows) {
  const Json json = parse_json(line);
  if (!json.is_object())
    throw Error(where + ": got '" + printable(line.substr(0, 60)) +
                R"(', expected {"file_name": "...", "text": "..."}.)");
  const std::string name = file_name_at(json, where);
  if (!json.contains("text"))
    throw Error(where + ": got no text, expected a caption for " + printable(name) + ".");
  const std::string split = text_at(json, "split", where);
  if (!split.empty() && split != "train") return;
  const Row row{text_at(json, "text", where), text_at(json, "group", where)};
  if (!rows.emplace(name, row).second)
    throw Error(where + ": file_name: got " + printable(name) +
                " a second time, expected a line for each image.");
}

Metadata read_rows(const fs::path& file) {
  std::istringstream lines(read_file(file, kMetadataLimit));
  Metadata rows;
  int64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    read_row(line, file.string() + ": line " + std::to_string(number), rows);
  }
  if (rows.empty()) throw Error(file.string() + ": got no images to train on, expected some.");
  return rows;
}

/// Groups by number, in the order of their names; undefined when no image has one.
Tensor number_groups(const std::vector<std::string>& groups) {
  std::map<std::string, int64_t> numbers;
  for (const auto& group : groups) numbers[group];
  if (numbers.size() == 1 && numbers.begin()->first.empty()) return {};
  int64_t next = 0;
  for (auto& [name, number] : numbers) number = next++;
  std::vector<int64_t> result;
  for (const auto& group : groups) result.push_back(numbers[group]);
  return at::tensor(result, at::kLong);
}

std::optional<std::string> caption_beside(const fs::path& image) {
  const fs::path file = fs::path(image).replace_extension(".txt");
  if (!fs::is_regular_file(file)) return {};
  std::string text = read_file(file, kCaptionLimit);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
  return text;
}

}  // namespace

bool has_metadata(const fs::path& path) { return fs::is_regular_file(path / kMetadata); }

Dataset load_captioned_folder(const fs::path& path, int64_t size, const fs::path& file) {
  const Metadata rows = read_rows(path / kMetadata);
  std::vector<std::string> names, groups;
  for (const auto& [name, row] : rows) names.push_back(name);
  Dataset data = decode_files(ImageSet(path, std::move(names), size, file, false), path);
  for (const auto& name : data.names) {
    const Row& row = rows.at(name);
    data.captions.push_back(row.caption);
    groups.push_back(row.group);
  }
  data.groups = number_groups(groups);
  return data;
}

void read_caption_files(const fs::path& path, Dataset& data) {
  std::string without;
  std::vector<std::string> captions;
  for (const auto& name : data.names) {
    if (const auto caption = caption_beside(path / name))
      captions.push_back(*caption);
    else if (without.empty())
      without = name;
  }
  if (captions.empty()) return;
  if (captions.size() < data.names.size())
    throw Error(path.string() + ": got captions for " + std::to_string(captions.size()) + " of " +
                std::to_string(data.names.size()) + " images, expected a NAME.txt beside each; " +
                without + " has none.");
  data.captions = std::move(captions);
}

}  // namespace tiller
