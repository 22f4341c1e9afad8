#pragma once
#include <ATen/core/Tensor.h>

#include <functional>

#include "io/file.h"

namespace tiller {
using at::Tensor;

/// An image of a set.
struct SourceImage {
  std::string name;   ///< Its file's, below the set's path.
  std::string label;  ///< The folder or class that it lies in; "": none.
  std::string bytes;  ///< Of the file, until it is decoded.
  Tensor pixels;      ///< (3, H, W) uint8, at its own size.
};

/// A set of images that is read in order and decoded on all threads, a part of it in memory at a
/// time. Images that can't be decoded are left out.
class ImageSource {
 public:
  /// A folder with all of its folders, a tar file (also compressed) or zip, CIFAR-10's or MNIST's
  /// binary files: by name, in archives as they come. limit: so many at most, 0: all. Throws Error
  /// when there is nothing usable.
  explicit ImageSource(const fs::path&, int64_t limit = 0);

  /// How many there are, corrupt ones with them; 0: not known before the end.
  int64_t count() const { return count_; }
  /// The next ones, at most `most`; empty at the end. Decoding of those that come next goes on
  /// meanwhile.
  std::vector<SourceImage> next(size_t most);
  /// Why images were left out, each with its name.
  const std::vector<std::string>& skipped() const { return skipped_; }

 private:
  /// Up to `most` images that aren't decoded; none at the end.
  using Reader = std::function<std::vector<SourceImage>(size_t most)>;

  void read_folder(const fs::path&);
  void read_archive(const fs::path&);
  void read_dataset(const fs::path&, int64_t side);

  fs::path path_;
  Reader read_;
  int64_t count_ = 0, left_ = 0;
  std::vector<std::string> skipped_;
};

/// Calls `use` with batches (B, 3, H, W) of images of one size, in order; B at most `batch`. Images
/// of several sizes make smaller batches.
void for_each_batch(ImageSource&, size_t batch,
                    const std::function<void(const Tensor& images, std::span<const SourceImage>)>& use);

}  // namespace tiller
