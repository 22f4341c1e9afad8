#include <algorithm>
#include <cstring>

#include "io/error.h"
#include "training/dataset_formats.h"

// CIFAR-10's binary version (https://www.cs.toronto.edu/~kriz/cifar.html): records of 3,073 bytes,
// a label from 0 to 9, then 32 x 32 red, green and blue values.
namespace tiller {
namespace {

constexpr int64_t kSide = 32;
constexpr int64_t kPixels = 3 * kSide * kSide;
constexpr int64_t kRecord = 1 + kPixels;
constexpr size_t kClasses = 10;

std::vector<fs::path> training_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const auto name = entry.path().filename().string();
    if (name.starts_with("data_batch_") && name.ends_with(".bin") && entry.is_regular_file())
      files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

int64_t count_records(const fs::path& file) {
  const auto bytes = static_cast<int64_t>(fs::file_size(file));
  if (bytes == 0 || bytes % kRecord != 0)
    throw Error(file.string() + ": got " + std::to_string(bytes) +
                " bytes, expected a multiple of " + std::to_string(kRecord) +
                ". Is it CIFAR-10's binary version, and whole?");
  return bytes / kRecord;
}

void read_records(const fs::path& path, int64_t count, uint8_t* images, int64_t* labels) {
  const MappedFile file(path);
  if (file.bytes().size() != static_cast<size_t>(count * kRecord))
    throw Error(path.string() + ": changed while it was read.");
  const std::byte* record = file.bytes().data();
  for (int64_t i = 0; i < count; ++i, record += kRecord) {
    labels[i] = static_cast<int64_t>(*record);
    if (labels[i] >= static_cast<int64_t>(kClasses))
      throw Error(path.string() + ": image " + std::to_string(i) + " has label " +
                  std::to_string(labels[i]) +
                  ", expected 0 to 9. Is it CIFAR-10's binary version?");
    std::memcpy(images + i * kPixels, record + 1, kPixels);
  }
}

std::vector<std::string> read_class_names(const fs::path& path) {
  if (!fs::exists(path)) return {};
  std::vector<std::string> names;
  std::string name;
  for (const char c : read_file(path, size_t{1} << 16) + "\n") {
    if (c == '\r') continue;
    if (c != '\n') {
      name += c;
    } else if (!name.empty()) {
      names.push_back(std::exchange(name, {}));
    }
  }
  if (names.size() != kClasses)
    throw Error(path.string() + ": got " + std::to_string(names.size()) +
                " class names, expected 10, one a line.");
  return names;
}

}  // namespace

bool is_cifar(const fs::path& path) {
  if (fs::is_directory(path)) return !training_files(path).empty();
  if (!fs::is_regular_file(path)) return false;
  return path.extension() == ".bin";
}

Dataset load_cifar(const fs::path& path, int64_t size) {
  const bool folder = fs::is_directory(path);
  const auto files = folder ? training_files(path) : std::vector{path};
  std::vector<int64_t> counts;
  int64_t total = 0;
  for (const auto& file : files) total += counts.emplace_back(count_records(file));

  Dataset data;
  auto images = allocate_bytes(path, {total, 3, kSide, kSide});
  data.labels = at::empty({total}, at::kLong);
  int64_t row = 0;
  for (size_t i = 0; i < files.size(); row += counts[i++])
    read_records(files[i], counts[i], images.data_ptr<uint8_t>() + row * kPixels,
                 data.labels.data_ptr<int64_t>() + row);
  data.images = fit_images(path, images, size);
  data.class_names = read_class_names((folder ? path : path.parent_path()) / "batches.meta.txt");
  return data;
}

}  // namespace tiller
