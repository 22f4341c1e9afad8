#include "io/fingerprint.h"

#include <algorithm>
#include <set>

#include "io/error.h"
#include "io/hash.h"

namespace tiller {
namespace {

void list_files(const fs::path& path, std::set<fs::path>& visited, std::vector<fs::path>& files) {
  if (!fs::is_directory(path)) {
    files.push_back(path);
  } else if (visited.insert(fs::canonical(path)).second) {
    std::vector<fs::directory_entry> entries(fs::directory_iterator(path), {});
    std::sort(entries.begin(), entries.end());
    for (const auto& entry : entries)
      if (!entry.path().filename().string().starts_with('.'))
        list_files(entry.path(), visited, files);
  }
}

}  // namespace

std::vector<fs::path> files_below(const fs::path& path) {
  std::set<fs::path> visited;
  std::vector<fs::path> files;
  list_files(path, visited, files);
  return files;
}

std::string fingerprint_of(const fs::path& path) try {
  if (!fs::exists(path)) throw Error(path.string() + ": no such file or folder.");
  const fs::path whole = fs::canonical(path);
  std::string text = whole.string() + "\n";
  for (const auto& file : files_below(whole))
    if (fs::is_regular_file(file))
      text += file.string() + " " + std::to_string(fs::file_size(file)) + " " +
              std::to_string(fs::last_write_time(file).time_since_epoch().count()) + "\n";
  return sha256_of(text);
} catch (const fs::filesystem_error& error) {
  throw Error(error.path1().string() + ": " + error.code().message() + ".");
}

}  // namespace tiller
