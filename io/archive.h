#pragma once
#include "io/file.h"

struct archive;
struct archive_entry;

namespace tiller {

/// Reads an archive's entries one after the other, through whatever compression the file has (gzip,
/// bzip2, xz, zstd, lz4). Nothing is ever written to disk, so names and links in it do no harm.
class ArchiveReader {
 public:
  /// tar: tar files of any kind. zip: stored or deflated. raw: one entry, the file's content.
  enum class Format { tar, zip, raw };

  /// Throws Error when the file can't be opened.
  ArchiveReader(const fs::path&, Format);
  ~ArchiveReader();
  ArchiveReader(const ArchiveReader&) = delete;
  ArchiveReader& operator=(const ArchiveReader&) = delete;

  /// Goes to the next entry; false at the end, each time. Throws Error when the archive is damaged
  /// or cut short.
  bool next();
  /// The entry's path as the archive has it.
  std::string name() const;
  bool is_file() const;
  bool is_link() const;
  int64_t size() const;
  /// Up to `limit` further bytes of the entry. Throws Error when it is damaged or cut short.
  std::string read(size_t limit);
  /// Fills `target` as far as the entry goes; returns the bytes read. Throws as read.
  size_t read_into(std::span<std::byte> target);

 private:
  [[noreturn]] void fail() const;

  fs::path path_;
  archive* archive_;
  archive_entry* entry_ = nullptr;
  bool ended_ = false;
};

}  // namespace tiller
