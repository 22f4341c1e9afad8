#include "tools/image_source.h"

#include <ATen/ATen.h>

#include <future>
#include <optional>

#include "io/archive.h"
#include "io/error.h"
#include "io/image.h"
#include "metrics/reference_statistics.h"
#include "training/dataset_formats.h"
#include "training/image_set.h"

namespace tiller {
namespace {

constexpr int64_t pixel_limit = int64_t{1} << 26, cifar_side = 32, mnist_side = 28;
constexpr size_t chunk_bytes = size_t{1} << 27;

void decode(SourceImage& image) {
  if (image.pixels.defined() || !image.failure.empty()) return;
  try {
    image.pixels = decode_image(image.bytes, image.name, pixel_limit);
  } catch (const Error& error) {
    image.failure = error.what();
  }
  image.bytes = {};
}

std::shared_ptr<ArchiveReader> open_archive(const fs::path& path) {
  try {
    return std::make_shared<ArchiveReader>(
        path, is_zip(path) ? ArchiveReader::Format::zip : ArchiveReader::Format::tar);
  } catch (const Error& error) {
    throw Error(std::string(error.what()) +
                " Expected images: a folder, tar, zip, CIFAR-10, MNIST or .npz.");
  }
}

SourceImage read_file_image(const fs::path& folder, const std::string& name) {
  SourceImage image{.name = name, .label = class_of(name)};
  try {
    image.bytes = read_file(folder / name, kImageFileLimit);
  } catch (const Error& error) {
    image.failure = error.what();
  }
  return image;
}

SourceImage read_entry(ArchiveReader& archive, const std::string& name) {
  SourceImage image{.name = name, .label = class_of(name)};
  try {
    image.bytes = archive.read(kImageFileLimit);
  } catch (const Error& error) {
    image.failure = name + ": " + error.what();
  }
  return image;
}

/// Those that were decoded; why the others weren't goes to `skipped`.
std::vector<SourceImage> usable(std::vector<SourceImage> images, bool strict,
                                std::vector<std::string>& skipped) {
  for (const auto& image : images) {
    if (image.failure.empty()) continue;
    if (strict) throw Error("--strict: " + image.failure);
    skipped.push_back(image.failure);
  }
  std::erase_if(images, [](const SourceImage& image) { return !image.pixels.defined(); });
  return images;
}

}  // namespace

ImageSource::ImageSource(const fs::path& path, int64_t limit)
    : path_(path), left_(limit ? limit : INT64_MAX) {
  if (!fs::exists(path)) throw Error(path.string() + ": no such file or folder.");
  if (is_cifar(path))
    read_dataset(load_dataset(path, cifar_side));
  else if (is_idx(path))
    read_dataset(load_dataset(path, mnist_side));
  else if (fs::is_directory(path))
    read_folder();
  else if (path.extension() == ".npz")
    read_arrays();
  else
    read_archive();
  count_ = std::min(count_, left_);
}

ImageSource::ImageSource(const fs::path& path, Dataset data) : path_(path), left_(INT64_MAX) {
  read_dataset(std::move(data));
}

void ImageSource::read_folder() {
  auto names = list_image_files(path_);
  if (names.empty())
    throw Error(path_.string() + ": got a folder without an image, expected images.");
  count_ = std::ssize(names);
  read_ = [path = path_, names = std::move(names), at = size_t{0}](size_t most) mutable {
    std::vector<SourceImage> images;
    for (size_t bytes = 0; images.size() < most && at < names.size() && bytes < chunk_bytes; ++at) {
      images.push_back(read_file_image(path, names[at]));
      bytes += images.back().bytes.size();
    }
    return images;
  };
}

void ImageSource::read_archive() {
  auto archive = open_archive(path_);
  read_ = [archive](size_t most) {
    std::vector<SourceImage> images;
    for (size_t bytes = 0; images.size() < most && bytes < chunk_bytes && archive->next();) {
      const std::string name = archive->name();
      if (!is_image_name(name)) continue;
      if (archive->is_link())
        images.push_back({.name = name, .failure = name + ": got a link, expected an image."});
      if (!archive->is_file()) continue;
      images.push_back(read_entry(*archive, name));
      bytes += images.back().bytes.size();
    }
    return images;
  };
}

void ImageSource::read_arrays() {
  auto arrays = std::make_shared<ReferenceImages>(path_);
  count_ = arrays->count();
  read_ = [arrays, at = int64_t{0}](size_t most) mutable {
    std::vector<SourceImage> images;
    const Tensor batch = arrays->next(int64_t(most));
    for (int64_t i = 0; i < batch.size(0); ++i)
      images.push_back({.name = std::to_string(at++), .pixels = batch[i]});
    return images;
  };
}

void ImageSource::read_dataset(Dataset decoded) {
  count_ = decoded.images.size(0);
  read_ = [data = std::make_shared<Dataset>(std::move(decoded)),
           at = int64_t{0}](size_t most) mutable {
    std::vector<SourceImage> images;
    for (; images.size() < most && at < data->images.size(0); ++at) {
      const int64_t label = data->labels.defined() ? data->labels[at].item<int64_t>() : -1;
      const bool named = label >= 0 && label < std::ssize(data->class_names);
      images.push_back({.name = std::to_string(at),
                        .label = named ? data->class_names[label] : "",
                        .pixels = data->images[at]});
    }
    return images;
  };
}

std::vector<SourceImage> ImageSource::next(size_t most) {
  auto images = read_(size_t(std::min<int64_t>(int64_t(most), left_)));
  left_ -= std::ssize(images);
  for_each_in_parallel(std::ssize(images), [&](int64_t i) { decode(images[i]); });
  return images;
}

std::vector<std::string> for_each_batch(
    ImageSource& source, size_t batch, bool strict,
    const std::function<void(const Tensor& images, std::span<const SourceImage>)>& use) {
  std::vector<std::string> skipped;
  const auto read = [&] { return source.next(batch); };
  auto coming = std::async(std::launch::async, read);
  for (auto read_images = coming.get(); !read_images.empty(); read_images = coming.get()) {
    coming = std::async(std::launch::async, read);
    const auto images = usable(std::move(read_images), strict, skipped);
    for (size_t first = 0, end; first < images.size(); first = end) {
      end = first + 1;
      std::vector<Tensor> pixels = {images[first].pixels};
      for (; end < images.size() && images[end].pixels.sizes() == pixels[0].sizes(); ++end)
        pixels.push_back(images[end].pixels);
      use(at::stack(pixels), std::span(images).subspan(first, end - first));
    }
  }
  return skipped;
}

}  // namespace tiller
