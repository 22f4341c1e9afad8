#include <algorithm>
#include <cstring>

#include "io/archive.h"
#include "io/error.h"
#include "training/dataset_formats.h"

// The IDX format of MNIST (http://yann.lecun.com/exdb/mnist): a big-endian magic number 0x0000080D
// for bytes in D dimensions, D big-endian sizes, the bytes.
namespace tiller {
namespace {

constexpr uint32_t kImagesMagic = 0x00000803;
constexpr uint32_t kLabelsMagic = 0x00000801;
constexpr int64_t kLargestSide = 4096;
constexpr int64_t kDeflateRatio = 1032;  // the most that a byte of gzip's deflate expands to

uint32_t big_endian(const std::string& bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

std::string hexadecimal(uint32_t value) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%08x", value);
  return text;
}

/// Reads the magic number and `dimensions` sizes.
std::vector<int64_t> read_header(ArchiveReader& file, const fs::path& path, uint32_t magic,
                                 size_t dimensions) {
  const auto header = file.next() ? file.read(4 + 4 * dimensions) : "";
  if (header.size() != 4 + 4 * dimensions)
    throw Error(path.string() + ": got " + std::to_string(header.size()) +
                " bytes, expected an IDX header of " + std::to_string(4 + 4 * dimensions) + ".");
  if (big_endian(header, 0) != magic)
    throw Error(path.string() + ": got the magic number " + hexadecimal(big_endian(header, 0)) +
                ", expected " + hexadecimal(magic) + ".");
  std::vector<int64_t> sizes;
  for (size_t i = 1; i <= dimensions; ++i) sizes.push_back(big_endian(header, 4 * i));
  return sizes;
}

/// Reads what is left, which must be exactly `count` bytes, block by block into `target`.
void read_rest(ArchiveReader& file, const fs::path& path, int64_t count, uint8_t* target) {
  constexpr int64_t kBlock = 1 << 20;
  for (int64_t done = 0; done < count;) {
    const auto block = file.read(std::min(kBlock, count - done));
    if (block.empty())
      throw Error(path.string() + ": ends after " + std::to_string(done) + " values, expected " +
                  std::to_string(count) + " as its header says.");
    std::memcpy(target + done, block.data(), block.size());
    done += std::ssize(block);
  }
  if (!file.read(1).empty())
    throw Error(path.string() + ": goes on after the " + std::to_string(count) +
                " values that its header announces.");
}

/// Before memory is allocated for what a header announces.
void check_sizes(const fs::path& path, const std::vector<int64_t>& sizes) {
  if (sizes[0] == 0 || sizes[1] == 0 || sizes[2] == 0 || sizes[1] > kLargestSide ||
      sizes[2] > kLargestSide)
    throw Error(path.string() + ": got " + std::to_string(sizes[0]) + " images of " +
                std::to_string(sizes[1]) + "x" + std::to_string(sizes[2]) +
                ", expected at least one, of 1x1 to 4096x4096.");
  const auto bytes = static_cast<int64_t>(fs::file_size(path));
  if (sizes[0] > bytes * kDeflateRatio / (sizes[1] * sizes[2]))
    throw Error(path.string() + ": got " + std::to_string(bytes) + " bytes, too few for " +
                std::to_string(sizes[0]) + " images of " + std::to_string(sizes[1]) + "x" +
                std::to_string(sizes[2]) + " that its header announces.");
}

/// (N, 1, rows, columns) uint8.
Tensor read_images(const fs::path& path) {
  ArchiveReader file(path, ArchiveReader::Format::raw);
  const auto sizes = read_header(file, path, kImagesMagic, 3);
  check_sizes(path, sizes);
  auto images = allocate_bytes(path, {sizes[0], 1, sizes[1], sizes[2]});
  read_rest(file, path, images.numel(), images.data_ptr<uint8_t>());
  return images;
}

/// (N) int64.
Tensor read_labels(const fs::path& path, int64_t count) {
  ArchiveReader file(path, ArchiveReader::Format::raw);
  const auto sizes = read_header(file, path, kLabelsMagic, 1);
  if (sizes[0] != count)
    throw Error(path.string() + ": got " + std::to_string(sizes[0]) + " labels, expected " +
                std::to_string(count) + ", one an image.");
  auto labels = at::empty({count}, at::kByte);
  read_rest(file, path, count, labels.data_ptr<uint8_t>());
  return labels.to(at::kLong);
}

std::string without_gz(const std::string& name) {
  return name.ends_with(".gz") ? name.substr(0, name.size() - 3) : name;
}

/// "train-images-idx3-ubyte" and "train-images.idx3-ubyte", also with ".gz".
bool is_images_name(const fs::path& path) {
  const auto name = without_gz(path.filename().string());
  return name.ends_with("images-idx3-ubyte") || name.ends_with("images.idx3-ubyte");
}

bool is_test_name(const fs::path& path) {
  const auto name = path.filename().string();
  return name.starts_with("t10k") || name.find("test") != std::string::npos;
}

/// The plain form where a file is there twice.
std::vector<fs::path> image_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.is_regular_file() && is_images_name(entry.path())) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  const auto same = [](const fs::path& a, const fs::path& b) {
    return without_gz(a.string()) == without_gz(b.string());
  };
  files.erase(std::unique(files.begin(), files.end(), same), files.end());
  return files;
}

fs::path training_images(const fs::path& path) {
  if (!fs::is_directory(path)) return path;
  auto files = image_files(path);
  if (files.size() > 1) std::erase_if(files, is_test_name);
  if (files.size() == 1) return files[0];
  std::vector<std::string> names;
  for (const auto& file : files) names.push_back(file.filename().string());
  throw Error(path.string() + ": got " + std::to_string(files.size()) + " sets of images (" +
              enumerate(names) + "), expected one for training. Give the file instead.");
}

/// The labels that belong to a file of images; empty where there are none.
fs::path labels_of(const fs::path& images) {
  auto name = without_gz(images.filename().string());
  const auto at = name.rfind("images");
  if (at == std::string::npos || !is_images_name(images)) return {};
  name.replace(at, 6, "labels");
  name.replace(name.rfind("idx3"), 4, "idx1");
  for (const auto* ending : {"", ".gz"})
    if (const auto path = images.parent_path() / (name + ending); fs::exists(path)) return path;
  return {};
}

}  // namespace

bool is_idx(const fs::path& path) {
  if (fs::is_directory(path)) return !image_files(path).empty();
  if (!fs::is_regular_file(path)) return false;
  if (is_images_name(path)) return true;
  try {
    ArchiveReader file(path, ArchiveReader::Format::raw);
    read_header(file, path, kImagesMagic, 3);
    return true;
  } catch (const Error&) {
    return false;
  }
}

Dataset load_idx(const fs::path& path, int64_t size) {
  const auto file = training_images(path);
  Dataset data;
  data.images = fit_images(file, read_images(file), size);
  const auto labels = labels_of(file);
  if (labels.empty()) return data;
  data.labels = read_labels(labels, data.images.size(0));
  const auto classes = data.labels.max().item<int64_t>() + 1;
  for (int64_t i = 0; i < classes; ++i) data.class_names.push_back(std::to_string(i));
  return data;
}

}  // namespace tiller
