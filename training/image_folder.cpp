#include <algorithm>
#include <set>

#include "io/error.h"
#include "io/fingerprint.h"
#include "training/dataset_formats.h"
#include "training/image_set.h"

namespace tiller {
namespace {

std::vector<fs::directory_entry> sorted_entries(const fs::path& folder) {
  std::vector<fs::directory_entry> entries(fs::directory_iterator(folder), {});
  std::sort(entries.begin(), entries.end());
  return entries;
}

/// A folder one level down that holds a known format, as a hint.
std::string nearby(const fs::path& folder) {
  for (const auto& entry : sorted_entries(folder))
    if (entry.is_directory() && (is_cifar(entry.path()) || is_idx(entry.path())))
      return " Did you mean '" + entry.path().string() + "'?";
  return "";
}

/// Folders at the top in which no image lies: classes that somebody meant.
std::vector<std::string> empty_folders(const fs::path& path,
                                       const std::vector<std::string>& names) {
  std::set<std::string> full;
  for (const auto& name : names) full.insert(fs::path(name).begin()->string());
  std::vector<std::string> empty;
  for (const auto& entry : sorted_entries(path)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_directory() && !name.starts_with('.') && !full.contains(name))
      empty.push_back(name);
  }
  return empty;
}

}  // namespace

std::vector<std::string> list_image_files(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& file : files_below(folder))
    if (is_image_name(file)) names.push_back(file.lexically_relative(folder).string());
  std::sort(names.begin(), names.end());
  return names;
}

Dataset load_image_folder(const fs::path& path, int64_t size, const fs::path& file) {
  std::vector<std::string> names = list_image_files(path);
  if (names.empty())
    throw Error(path.string() +
                ": got a folder without data, expected images (class = sub-folder), "
                "data_batch_*.bin or *-images-idx3-ubyte." +
                nearby(path));
  std::vector<std::string> empty = empty_folders(path, names);
  ImageSet images(path, std::move(names), size, file);
  Dataset data = decode_files(std::move(images), path);
  data.empty = std::move(empty);
  read_caption_files(path, data);
  return data;
}

}  // namespace tiller
