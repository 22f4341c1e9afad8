#include "io/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>

#include "io/error.h"

namespace tiller {
namespace {

constexpr size_t kBlock = 1 << 16;

/// Only what libarchive decompresses itself: for other filters it would run programs.
void allow_filters(archive* a) {
  archive_read_support_filter_gzip(a);
  archive_read_support_filter_bzip2(a);
  archive_read_support_filter_xz(a);
  archive_read_support_filter_zstd(a);
  archive_read_support_filter_lz4(a);
}

/// libarchive's message on one line; some end with a new line, some quote the file.
std::string reason_of(archive* a) {
  const char* reason = archive_error_string(a);
  std::string text = reason ? reason : "unreadable";
  while (text.ends_with('\n')) text.pop_back();
  return printable(text, 200);
}

void allow_format(archive* a, ArchiveReader::Format format) {
  switch (format) {
    case ArchiveReader::Format::tar:
      archive_read_support_format_tar(a);
      break;
    case ArchiveReader::Format::zip:
      archive_read_support_format_zip(a);
      break;
    case ArchiveReader::Format::raw:
      archive_read_support_format_raw(a);
  }
}

/// While one lives this thread's characters are UTF-8: elsewhere libarchive gives no name at all
/// for one that a zip marks as UTF-8.
class Utf8Locale {
 public:
  Utf8Locale() : before_(locale() ? uselocale(locale()) : nullptr) {}
  Utf8Locale(const Utf8Locale&) = delete;
  ~Utf8Locale() {
    if (before_) uselocale(before_);
  }

 private:
  static locale_t locale() {
    static const locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    return utf8;
  }
  locale_t before_;
};

/// A pipe would be waited for.
const fs::path& file_at(const fs::path& path) {
  if (fs::exists(path) && !fs::is_regular_file(path))
    throw Error(path.string() + ": got a folder, pipe or device, expected a regular file.");
  return path;
}

}  // namespace

ArchiveReader::ArchiveReader(const fs::path& path, Format format)
    : path_(file_at(path)), archive_(archive_read_new()) {
  if (!archive_) throw std::bad_alloc();
  if (format != Format::zip) allow_filters(archive_);
  allow_format(archive_, format);
  if (archive_read_open_filename(archive_, path.c_str(), kBlock) == ARCHIVE_OK) return;
  const std::string reason = reason_of(archive_);
  archive_read_free(archive_);
  throw Error(path.string() + ": " + reason + ".");
}

ArchiveReader::~ArchiveReader() { archive_read_free(archive_); }

void ArchiveReader::fail() const {
  throw Error(path_.string() + ": damaged or cut short: " + reason_of(archive_) + ".");
}

bool ArchiveReader::next() {
  if (ended_) return false;
  const Utf8Locale utf8;
  const int status = archive_read_next_header(archive_, &entry_);
  if (status == ARCHIVE_EOF) ended_ = true;
  if (ended_) return false;
  if (status != ARCHIVE_OK && status != ARCHIVE_WARN) fail();
  return true;
}

std::string ArchiveReader::name() const {
  const Utf8Locale utf8;
  const char* name = archive_entry_pathname(entry_);
  if (!name) name = archive_entry_pathname_utf8(entry_);
  return name ? name : "";
}

bool ArchiveReader::is_file() const {
  return archive_entry_filetype(entry_) == AE_IFREG && !is_link();
}

bool ArchiveReader::is_link() const {
  return archive_entry_filetype(entry_) == AE_IFLNK || archive_entry_hardlink(entry_) ||
         archive_entry_hardlink_utf8(entry_);
}

int64_t ArchiveReader::size() const { return archive_entry_size(entry_); }

std::string ArchiveReader::read(size_t limit) {
  std::string bytes;
  while (bytes.size() < limit) {
    const size_t had = bytes.size(), wanted = std::min(limit - had, kBlock);
    bytes.resize(had + wanted);
    const size_t got = read_into(std::as_writable_bytes(std::span(bytes).subspan(had)));
    bytes.resize(had + got);
    if (got < wanted) break;
  }
  return bytes;
}

size_t ArchiveReader::read_into(std::span<std::byte> target) {
  size_t done = 0;
  while (done < target.size()) {
    const auto got = archive_read_data(archive_, target.data() + done, target.size() - done);
    if (got < 0) fail();
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

}  // namespace tiller
