#include "training/dataset.h"

#include "io/error.h"
#include "training/dataset_formats.h"

namespace tiller {
namespace {

constexpr int64_t kLargestSize = 4096;

}  // namespace

Dataset load_dataset(const fs::path& path, int64_t size) {
  if (size < 1 || size > kLargestSize)
    throw Error("size: got " + std::to_string(size) + ", expected 1 to " +
                std::to_string(kLargestSize) + ".");
  if (!fs::exists(path)) throw Error(path.string() + ": no such file or folder.");
  if (is_cifar(path)) return load_cifar(path, size);
  throw Error(
      path.string() +
      ": got neither a folder of images nor a file that is known, expected an image folder, "
      "a tar file of one, CIFAR-10's binary files or MNIST's IDX files.");
}

}  // namespace tiller
