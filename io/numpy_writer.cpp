#include <ATen/ATen.h>
#include <archive.h>
#include <archive_entry.h>

#include <algorithm>
#include <set>

#include "io/error.h"
#include "io/numpy_dtypes.h"
#include "io/numpy_file.h"

namespace tiller {
namespace {

/// As Python writes it: "(2, 3)", "(2,)", "()".
std::string tuple(at::IntArrayRef sizes) {
  std::string text;
  for (const int64_t size : sizes) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "(" + text + (sizes.size() == 1 ? ",)" : ")");
}

/// Version 1: padded with spaces so that the numbers begin at a multiple of 64 bytes.
std::string header_of(const Tensor& tensor, const std::string& file) {
  std::string text = "{'descr': '" + numpy_descr(tensor.scalar_type(), file) +
                     "', 'fortran_order': False, 'shape': " + tuple(tensor.sizes()) + ", }";
  constexpr size_t before = 10, alignment = 64;
  text.resize((before + text.size() + alignment) / alignment * alignment - before - 1, ' ');
  text += '\n';
  const auto size = text.size();
  return std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(size & 255) +
         static_cast<char>(size >> 8) + text;
}

class ZipWriter {
 public:
  explicit ZipWriter(const fs::path& path) : archive_(archive_write_new()) {
    if (!archive_) throw std::bad_alloc();
    archive_write_set_format_zip(archive_);
    archive_write_zip_set_compression_store(archive_);
    if (archive_write_open_filename(archive_, path.c_str()) != ARCHIVE_OK) fail();
  }
  ~ZipWriter() {
    archive_entry_free(entry_);
    archive_write_free(archive_);
  }
  ZipWriter(const ZipWriter&) = delete;
  ZipWriter& operator=(const ZipWriter&) = delete;

  void begin(const std::string& name, uint64_t size) {
    archive_entry_clear(entry_);
    archive_entry_set_pathname(entry_, name.c_str());
    archive_entry_set_size(entry_, static_cast<int64_t>(size));
    archive_entry_set_filetype(entry_, AE_IFREG);
    archive_entry_set_perm(entry_, 0644);
    archive_entry_set_mtime(entry_, 315532800, 0);  // 1980, where zip's calendar begins
    if (archive_write_header(archive_, entry_) != ARCHIVE_OK) fail();
  }

  void write(const void* bytes, size_t size) {
    const auto* start = static_cast<const char*>(bytes);
    for (size_t done = 0; done < size;) {
      const auto wrote = archive_write_data(archive_, start + done, size - done);
      if (wrote <= 0) fail();
      done += static_cast<size_t>(wrote);
    }
  }

  void close() {
    if (archive_write_close(archive_) != ARCHIVE_OK) fail();
  }

 private:
  [[noreturn]] void fail() {
    const char* reason = archive_error_string(archive_);
    throw Error(std::string("can't be written: ") + (reason ? reason : "is the disk full?") + ".");
  }

  archive* archive_;
  archive_entry* entry_ = archive_entry_new();
};

void check_names(const fs::path& path, const NamedTensors& tensors) {
  std::set<std::string> names;
  const auto outside = [](unsigned char c) { return c < ' ' || c > '~'; };
  for (const auto& [name, tensor] : tensors) {
    if (std::any_of(name.begin(), name.end(), outside))
      throw Error(path.string() + ": got the array name '" + printable(name) +
                  "', expected ASCII.");
    if (!names.insert(name).second)
      throw Error(path.string() + ": got the array '" + printable(name) +
                  "' twice, expected each once.");
  }
}

}  // namespace

void save_npz(const fs::path& path, const NamedTensors& tensors) {
  check_names(path, tensors);
  write_atomically(path, [&](const fs::path& temporary) {
    try {
      ZipWriter zip(temporary);
      for (const auto& [name, tensor] : tensors) {
        const Tensor whole = tensor.detach().cpu().contiguous();
        const std::string header = header_of(whole, "array '" + printable(name) + "'");
        zip.begin(name + ".npy", header.size() + whole.nbytes());
        zip.write(header.data(), header.size());
        zip.write(whole.const_data_ptr(), whole.nbytes());
      }
      zip.close();
    } catch (const Error& error) {
      throw Error(path.string() + ": " + error.what());
    }
  });
}

}  // namespace tiller
