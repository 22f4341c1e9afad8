#include "training/dataset.h"

#include <fstream>

#include "io/error.h"
#include "training/dataset_formats.h"

namespace tiller {
namespace {

constexpr int64_t kLargestSize = 4096;

Dataset load_format(const fs::path& path, int64_t size, const fs::path& file) {
  try {
    if (!fs::exists(path)) throw Error(path.string() + ": no such file or folder.");
    if (fs::is_regular_file(path) && !std::ifstream(path))
      throw Error(path.string() + ": can't be read.");
    if (is_cifar(path)) return load_cifar(path, size);
    if (is_idx(path)) return load_idx(path, size);
    if (is_npz(path)) return load_npz_images(path, size, file);
    if (is_pairs(path)) return load_pairs(path, size);
    if (is_archive(path)) return load_archive_images(path, size, file);
    if (has_metadata(path)) return load_captioned_folder(path, size, file);
    if (has_shards(path)) return load_shards(path, size, file);
    if (fs::is_directory(path)) return load_image_folder(path, size, file);
  } catch (const fs::filesystem_error& error) {
    throw Error(error.path1().string() + ": can't be read: " + error.code().message() + ".");
  }
  throw Error(
      path.string() +
      ": got an unknown kind of file, expected a folder of images, a tar or zip of "
      "one, webdataset's shards, CIFAR-10's or MNIST's files, guided-diffusion's .npz or pairs.");
}

}  // namespace

Dataset load_dataset(const fs::path& path, int64_t size, const fs::path& file) {
  if (size < 1 || size > kLargestSize)
    throw Error("size: got " + std::to_string(size) + ", expected 1 to " +
                std::to_string(kLargestSize) + ".");
  if (!file.empty()) fs::remove(file);
  Dataset data = load_format(path, size, file);
  data.mapped = !file.empty() && !data.noise.defined();
  if (!data.mapped) return data;
  if (!fs::exists(file))
    data.images = allocate_bytes(path, data.images.sizes(), file).copy_(data.images);
  fs::resize_file(file, uintmax_t(data.images.numel()));
  return data;
}

void move_to(Dataset& data, at::Device device) {
  if (!data.mapped) data.images = data.images.to(device);
  if (data.noise.defined()) data.noise = data.noise.to(device);
  if (data.labels.defined()) data.labels = data.labels.to(device);
}

}  // namespace tiller
