#include "io/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

#include "io/error.h"

namespace tiller {
namespace {

[[noreturn]] void fail(const fs::path& path, const std::string& what) {
  throw Error(path.string() + ": " + what + ": " + std::strerror(errno) + ".");
}

/// A file descriptor that is closed in the end.
struct Descriptor {
  int number;
  explicit Descriptor(int n) : number(n) {}
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
};

/// Opens a regular file (a folder or a pipe can be opened too, but neither mapped nor measured).
void check_regular(const Descriptor& file, const fs::path& path, struct stat& status) {
  if (file.number < 0) fail(path, "can't be read");
  if (::fstat(file.number, &status) != 0) fail(path, "can't be read");
  if (S_ISDIR(status.st_mode)) throw Error(path.string() + ": got a folder, expected a file.");
  if (!S_ISREG(status.st_mode))
    throw Error(path.string() + ": got a pipe or device, expected a regular file.");
}

void flush_to_disk(const fs::path& path, int flags) {
  const Descriptor file(::open(path.c_str(), flags | O_CLOEXEC));
  if (file.number < 0 || ::fsync(file.number) != 0) fail(path, "can't be written");
}

/// Beside `path`, so that renaming stays within one file system; keeps the ending, which writers
/// may look at.
fs::path temporary_name(const fs::path& path) {
  static std::atomic<unsigned> count{0};
  std::ostringstream name;
  name << '.' << path.stem().string() << '.' << ::getpid() << '-' << count++ << ".tmp"
       << path.extension().string();
  return path.parent_path() / name.str();
}

fs::path parent_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

void replace(const fs::path& temporary, const fs::path& path) {
  flush_to_disk(temporary, O_RDWR);
  if (::rename(temporary.c_str(), path.c_str()) != 0) fail(path, "can't be written");
  flush_to_disk(parent_of(path), O_RDONLY | O_DIRECTORY);
}

}  // namespace

MappedFile::MappedFile(const fs::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status;
  check_regular(file, path, status);
  const size_t size = static_cast<size_t>(status.st_size);
  if (size == 0) return;
  void* start =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file.number, 0);
  if (start == MAP_FAILED) fail(path, "can't be mapped");
  bytes_ = {static_cast<const std::byte*>(start), size};
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

std::string read_file(const fs::path& path, size_t limit) {
  const MappedFile file(path);
  const auto bytes = file.bytes();
  if (bytes.size() > limit)
    throw Error(path.string() + ": got " + std::to_string(bytes.size()) +
                " bytes, expected at most " + std::to_string(limit) + ".");
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void write_atomically(const fs::path& path, const std::function<void(const fs::path&)>& write) {
  std::error_code error;
  // A device or pipe, such as /dev/stdout, is written to, never replaced.
  if (fs::is_other(path, error)) return write(path);
  fs::create_directories(parent_of(path), error);
  if (error) throw Error(parent_of(path).string() + ": can't be created: " + error.message() + ".");
  if (fs::is_directory(path, error))
    throw Error(path.string() + ": can't be written: it is a folder.");
  const fs::path temporary = temporary_name(path);
  try {
    write(temporary);
    replace(temporary, path);
  } catch (...) {
    fs::remove(temporary, error);
    throw;
  }
}

void write_file(const fs::path& path, std::string_view bytes) {
  write_atomically(path, [&](const fs::path& temporary) {
    errno = 0;
    std::ofstream out(temporary, std::ios::binary);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    out.close();
    if (!out) fail(path, "can't be written");
  });
}

}  // namespace tiller
