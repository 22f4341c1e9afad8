#include "training/data_cache.h"

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "io/error.h"
#include "io/file_lock.h"
#include "io/fingerprint.h"
#include "io/hash.h"
#include "training/dataset_formats.h"

namespace tiller {
namespace {

using Json = nlohmann::json;

std::string key_of(const fs::path& path, int64_t size) {
  return sha256_of(fingerprint_of(path) + " " + std::to_string(size)).substr(0, 16);
}

std::vector<int64_t> numbers(const Tensor& tensor) {
  if (!tensor.defined()) return {};
  const Tensor flat = tensor.cpu().contiguous();
  return {flat.data_ptr<int64_t>(), flat.data_ptr<int64_t>() + flat.numel()};
}

Json described(const Dataset& data) {
  const auto text = [](const std::vector<std::string>& strings) {
    Json list = Json::array();
    for (const auto& string : strings) list.push_back(Json::binary({string.begin(), string.end()}));
    return list;
  };
  return {{"shape", data.images.sizes().vec()}, {"labels", numbers(data.labels)},
          {"groups", numbers(data.groups)},     {"class_names", text(data.class_names)},
          {"names", text(data.names)},          {"captions", text(data.captions)},
          {"skipped", text(data.skipped)},      {"empty", text(data.empty)}};
}

Tensor tensor_at(const Json& json, const char* key) {
  const auto values = json.at(key).get<std::vector<int64_t>>();
  return values.empty() ? Tensor() : at::tensor(values, at::kLong);
}

std::vector<std::string> text_at(const Json& json, const char* key) {
  std::vector<std::string> strings;
  for (const auto& item : json.at(key)) {
    const auto& bytes = item.get_binary();
    strings.emplace_back(bytes.begin(), bytes.end());
  }
  return strings;
}

Dataset read(const fs::path& description, const fs::path& images) {
  const Json json = Json::from_cbor(read_file(description, size_t{1} << 34));
  return {.images = map_bytes(images, json.at("shape").get<std::vector<int64_t>>()),
          .noise = {},
          .labels = tensor_at(json, "labels"),
          .class_names = text_at(json, "class_names"),
          .names = text_at(json, "names"),
          .captions = text_at(json, "captions"),
          .groups = tensor_at(json, "groups"),
          .skipped = text_at(json, "skipped"),
          .empty = text_at(json, "empty"),
          .mapped = true};
}

Dataset decode(const fs::path& path, int64_t size, const fs::path& description,
               const fs::path& images) {
  Dataset data = load_dataset(path, size, images);
  const auto bytes = Json::to_cbor(described(data));
  write_file(description, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  return data;
}

}  // namespace

Dataset cached_dataset(const fs::path& path, int64_t size, const fs::path& folder) {
  try {
    if (!fs::exists(path)) throw Error(path.string() + ": no such file or folder.");
    if (is_pairs(path))
      throw UsageError("--data-cache: got pairs, which are held in memory, expected images.");
    fs::create_directories(folder);
    const fs::path base = folder / key_of(path, size);
    const fs::path images = base.string() + ".images", description = base.string() + ".cbor";
    const FileLock lock(base.string() + ".lock");
    if (!fs::exists(description)) return decode(path, size, description, images);
    return read(description, images);
  } catch (const fs::filesystem_error& error) {
    throw Error(error.path1().string() + ": " + error.code().message() + ".");
  } catch (const Json::exception&) {
    throw Error(folder.string() + ": got a damaged cache, expected decoded images. Delete it.");
  }
}

}  // namespace tiller
