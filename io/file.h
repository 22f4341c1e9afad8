#pragma once
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>

namespace tiller {
namespace fs = std::filesystem;

/// A file's bytes, mapped copy-on-write: what is written to them stays in memory. Throws Error
/// naming the file when it can't be opened.
class MappedFile {
 public:
  explicit MappedFile(const fs::path&);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

/// The whole file. Throws Error when it can't be read or is larger than `limit` bytes.
std::string read_file(const fs::path&, size_t limit = size_t{1} << 30);

/// Calls `write` with a temporary name beside `path` and renames the result, so that `path` is
/// either whole or untouched. Creates the folder. Throws Error when it can't be written.
void write_atomically(const fs::path& path, const std::function<void(const fs::path&)>& write);
void write_file(const fs::path&, std::string_view bytes);

}  // namespace tiller
