#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "io/archive.h"
#include "io/error.h"
#include "training/archive_text.h"
#include "training/dataset_formats.h"
#include "training/image_set.h"

namespace tiller {
namespace {

constexpr size_t kBatchBytes = size_t{1} << 26;
constexpr size_t kBatchImages = 256;

using Format = ArchiveReader::Format;

Format format_of(const fs::path& path) { return is_zip(path) ? Format::zip : Format::tar; }

struct Encoded {
  int64_t index;  ///< In the order of the archives.
  std::string bytes;
};

/// The entries of one archive after the other.
class Entries {
 public:
  explicit Entries(const std::vector<fs::path>& archives) : archives_(archives) {}

  bool next() {
    for (; at_ < archives_.size(); ++at_, reader_.reset()) {
      if (!reader_)
        reader_ = std::make_unique<ArchiveReader>(archives_[at_], format_of(archives_[at_]));
      if (reader_->next()) return true;
    }
    return false;
  }
  bool is_image() const {
    return (reader_->is_file() || reader_->is_link()) && is_image_name(reader_->name());
  }
  ArchiveReader& reader() { return *reader_; }
  /// Of several archives, each entry's begins with its archive's.
  std::string name() const {
    const fs::path name = fs::path(reader_->name()).lexically_normal();
    return (archives_.size() > 1 ? archives_[at_].filename() / name : name).string();
  }

 private:
  const std::vector<fs::path>& archives_;
  size_t at_ = 0;
  std::unique_ptr<ArchiveReader> reader_;
};

bool next_image(Entries& entries) {
  while (entries.next())
    if (entries.is_image()) return true;
  return false;
}

/// The images' names, and what is written beside them.
std::vector<std::string> list_images(const fs::path& path, const std::vector<fs::path>& archives,
                                     ArchiveText& text) {
  std::vector<std::string> names;
  for (Entries entries(archives); entries.next();) {
    if (entries.is_image())
      names.push_back(entries.name());
    else if (entries.reader().is_file())
      text.read(entries.name(), entries.reader());
  }
  if (names.empty())
    throw Error(path.string() +
                ": got an archive without an image, expected images in one folder a class. If it "
                "holds CIFAR-10's or MNIST's files, unpack it first.");
  return names;
}

/// Reads the image at hand into `batch`, or notes why not.
void read_image(ArchiveReader& reader, ImageSet& images, int64_t index,
                std::vector<Encoded>& batch) {
  if (reader.is_link()) {
    images.skip(index, images.name(index) + ": got a link, expected an image.");
  } else if (reader.size() > static_cast<int64_t>(kImageFileLimit)) {
    images.skip(index, images.name(index) + ": got " + std::to_string(reader.size()) +
                           " bytes, expected at most " + std::to_string(kImageFileLimit) + ".");
  } else {
    batch.push_back({index, reader.read(kImageFileLimit)});
  }
}

void decode_batch(ImageSet& images, std::vector<Encoded>& batch) {
  for_each_in_parallel(std::ssize(batch),
                       [&](int64_t i) { images.decode(batch[i].index, batch[i].bytes); });
  batch.clear();
}

// Reads the archives twice: the first time tells how much memory the images take and how their
// names sort, so that the second can decode each to its place.
Dataset load_archives(const fs::path& path, const std::vector<fs::path>& archives, int64_t size,
                      const fs::path& file) {
  ArchiveText text;
  std::vector<std::string> names = list_images(path, archives, text);
  text.keep_beside(names);
  ImageSet images(path, std::move(names), size, file, !text.has_classes() && archives.size() == 1);
  Progress progress = long_progress("decoding", images.count());
  Entries entries(archives);
  std::vector<Encoded> batch;
  size_t bytes = 0;
  int64_t index = 0;
  for (; index < images.count() && next_image(entries); ++index) {
    const size_t had = batch.size();
    read_image(entries.reader(), images, index, batch);
    if (batch.size() > had) bytes += batch.back().bytes.size();
    if (batch.size() < kBatchImages && bytes < kBatchBytes) continue;
    progress.advance(std::ssize(batch));
    decode_batch(images, batch);
    bytes = 0;
  }
  if (index != images.count()) throw Error(path.string() + ": changed while it was read.");
  decode_batch(images, batch);
  Dataset data = std::move(images).finish();
  text.add_to(data, path);
  return data;
}

bool is_shard_name(const fs::path& path) {
  const std::string name = path.filename().string();
  return !name.starts_with('.') &&
         (name.ends_with(".tar") || name.ends_with(".tar.gz") || name.ends_with(".tgz"));
}

bool is_tar(const fs::path& shard) { return shard.extension() == ".tar"; }

std::vector<fs::path> shards_in(const fs::path& folder) {
  std::vector<fs::path> shards;
  if (!fs::is_directory(folder)) return shards;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_regular_file() && is_shard_name(entry.path())) shards.push_back(entry);
  std::sort(shards.begin(), shards.end());
  return shards;
}

}  // namespace

bool is_zip(const fs::path& path) {
  if (!fs::is_regular_file(path)) return false;  // a pipe would be waited for
  std::array<char, 2> first{};
  std::ifstream(path, std::ios::binary).read(first.data(), first.size());
  return first == std::array{'P', 'K'};
}

bool is_archive(const fs::path& path) {
  if (!fs::is_regular_file(path) || fs::file_size(path) == 0) return false;
  try {
    ArchiveReader(path, format_of(path)).next();
    return true;
  } catch (const Error&) {
    return false;
  }
}

Dataset load_archive_images(const fs::path& path, int64_t size, const fs::path& file) {
  return load_archives(path, {path}, size, file);
}

bool has_shards(const fs::path& path) {
  const auto shards = shards_in(path);
  // Compressed ones among images are the data set as it was downloaded.
  return std::any_of(shards.begin(), shards.end(), is_tar) ||
         (!shards.empty() && list_image_files(path).empty());
}

Dataset load_shards(const fs::path& path, int64_t size, const fs::path& file) {
  const std::vector<fs::path> shards = shards_in(path);
  if (const auto images = list_image_files(path); !images.empty())
    throw Error(path.string() + ": got images ('" + printable(images[0]) + "') and archives ('" +
                printable(std::find_if(shards.begin(), shards.end(), is_tar)->filename().string()) +
                "'), expected one or the other. Move either out.");
  return load_archives(path, shards, size, file);
}

}  // namespace tiller
