#pragma once
#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "io/error.h"
#include "io/image.h"
#include "training/dataset.h"

/// Small data sets of every kind, written to a folder that goes away.
namespace tiller::test {

class DatasetFiles : public ::testing::Test {
 protected:
  DatasetFiles() {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root = fs::temp_directory_path() / ("tiller-" + std::to_string(::getpid()) + "-" +
                                        info->test_suite_name() + "-" + info->name());
    fs::remove_all(root);
    fs::create_directories(root);
  }
  ~DatasetFiles() override { fs::remove_all(root); }

  fs::path write(const std::string& name, const std::string& bytes) const {
    const auto path = root / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  }

  /// What load_dataset says; "" when it loads.
  static std::string message_of(const fs::path& path, int64_t size = 8) {
    try {
      load_dataset(path, size);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }

  fs::path root;
};

/// (3, side, side) of one colour.
inline Tensor plain(int64_t red, int64_t green, int64_t blue, int64_t side = 8) {
  return at::tensor({red, green, blue}, at::kByte).view({3, 1, 1}).repeat({1, side, side});
}

inline std::string png(int64_t red, int64_t green = 0, int64_t blue = 0) {
  return encode_png(plain(red, green, blue));
}

/// The red value of each image.
inline std::vector<int64_t> reds(const Dataset& data) {
  const auto values = data.images.select(1, 0).flatten(1).select(1, 0).to(at::kLong).contiguous();
  return {values.data_ptr<int64_t>(), values.data_ptr<int64_t>() + values.numel()};
}

inline std::vector<int64_t> labels(const Dataset& data) {
  return {data.labels.data_ptr<int64_t>(), data.labels.data_ptr<int64_t>() + data.labels.numel()};
}

/// An archive's entry: a file, or a link where `target` is given.
struct Entry {
  std::string name;
  std::string bytes;
  std::string target = "";
};

/// filter: libarchive's name of a compression, "none" for none. raw: the first entry's bytes alone.
inline void write_archive(const fs::path& path, const std::vector<Entry>& entries,
                          const std::string& filter, bool raw = false) {
  auto* a = archive_write_new();
  if (filter != "none") {
    ASSERT_EQ(archive_write_add_filter_by_name(a, filter.c_str()), ARCHIVE_OK);
  }
  raw ? archive_write_set_format_raw(a) : archive_write_set_format_pax_restricted(a);
  ASSERT_EQ(archive_write_open_filename(a, path.c_str()), ARCHIVE_OK);
  for (const auto& [name, bytes, target] : entries) {
    auto* entry = archive_entry_new();
    archive_entry_set_pathname(entry, name.c_str());
    archive_entry_set_filetype(entry, target.empty() ? AE_IFREG : AE_IFLNK);
    if (!target.empty()) archive_entry_set_symlink(entry, target.c_str());
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, static_cast<int64_t>(bytes.size()));
    EXPECT_EQ(archive_write_header(a, entry), ARCHIVE_OK);
    archive_write_data(a, bytes.data(), bytes.size());
    archive_entry_free(entry);
  }
  EXPECT_EQ(archive_write_free(a), ARCHIVE_OK);
}

}  // namespace tiller::test
