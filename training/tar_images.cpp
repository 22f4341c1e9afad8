#include "io/archive.h"
#include "io/error.h"
#include "training/dataset_formats.h"
#include "training/image_set.h"

namespace tiller {
namespace {

constexpr size_t kBatchBytes = size_t{1} << 26;
constexpr size_t kBatchImages = 256;

struct Encoded {
  int64_t index;  ///< In the order of the archive.
  std::string bytes;
};

/// Goes to the next entry that is named as an image; false at the end.
bool next_image(ArchiveReader& reader) {
  while (reader.next())
    if ((reader.is_file() || reader.is_link()) && is_image_name(reader.name())) return true;
  return false;
}

std::vector<std::string> list_images(const fs::path& path) {
  ArchiveReader reader(path, ArchiveReader::Format::tar);
  std::vector<std::string> names;
  while (next_image(reader)) names.push_back(fs::path(reader.name()).lexically_normal().string());
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

}  // namespace

bool is_tar(const fs::path& path) {
  if (!fs::is_regular_file(path) || fs::file_size(path) == 0) return false;
  try {
    ArchiveReader(path, ArchiveReader::Format::tar).next();
    return true;
  } catch (const Error&) {
    return false;
  }
}

// Reads the archive twice: the first time tells how much memory the images take and how their names
// sort, so that the second can decode each to its place.
Dataset load_tar_images(const fs::path& path, int64_t size) {
  ImageSet images(path, list_images(path), size);
  ArchiveReader reader(path, ArchiveReader::Format::tar);
  std::vector<Encoded> batch;
  size_t bytes = 0;
  int64_t index = 0;
  for (; index < images.count() && next_image(reader); ++index) {
    const size_t had = batch.size();
    read_image(reader, images, index, batch);
    if (batch.size() > had) bytes += batch.back().bytes.size();
    if (batch.size() < kBatchImages && bytes < kBatchBytes) continue;
    decode_batch(images, batch);
    bytes = 0;
  }
  if (index != images.count()) throw Error(path.string() + ": changed while it was read.");
  decode_batch(images, batch);
  return std::move(images).finish();
}

}  // namespace tiller
