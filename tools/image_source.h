#pragma once
#include <ATen/core/Tensor.h>

#include <functional>

#include "training/dataset.h"

namespace tiller {

/// An image of a set.
struct SourceImage {
  std::string name;     ///< Its file's, below the set's path.
  std::string label;    ///< The folder or class that it lies in; "": none.
  std::string bytes;    ///< Of the file, until it is decoded.
  Tensor pixels;        ///< (3, H, W) uint8, at its own size; undefined: it can't be decoded.
  std::string failure;  ///< Why not.
};

/// A set of images that is read in order and decoded on all threads, a part of it in memory at a
/// time.
class ImageSource {
 public:
  /// A folder with all of its folders, a tar file (also compressed) or zip, CIFAR-10's or MNIST's
  /// binary files, guided-diffusion's `arr_0` in a .npz: by name, in archives as they come. limit:
  /// so many at most, 0: all. Throws Error when there is nothing usable.
  explicit ImageSource(const fs::path&, int64_t limit = 0);
  /// Images that are decoded already, of bytes; path: where they came from.
  ImageSource(const fs::path&, Dataset);

  /// How many there are, corrupt ones with them; 0: not known before the end.
  int64_t count() const { return count_; }
  const fs::path& path() const { return path_; }
  /// The next ones, decoded, at most `most`; empty at the end.
  std::vector<SourceImage> next(size_t most);

 private:
  void read_folder();
  void read_archive();
  void read_arrays();
  void read_dataset(Dataset);

  fs::path path_;
  std::function<std::vector<SourceImage>(size_t most)> read_;  ///< None at the end.
  int64_t count_ = 0, left_ = 0;
};

/// Calls `use` with batches (B, 3, H, W) of images of one size, in order; B at most `batch`, the
/// next ones being decoded meanwhile. Images that can't be decoded are left out: returns why, each
/// with its name. strict: throws Error instead.
std::vector<std::string> for_each_batch(
    ImageSource&, size_t batch, bool strict,
    const std::function<void(const Tensor& images, std::span<const SourceImage>)>& use);

}  // namespace tiller
