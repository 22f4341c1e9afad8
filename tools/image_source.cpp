#include "tools/image_source.h"

#include <ATen/ATen.h>

#include <future>
#include <optional>

#include "io/error.h"
#include "io/image.h"
#include "training/archive.h"
#include "training/dataset_formats.h"
#include "training/image_set.h"

namespace tiller {
namespace {

constexpr int64_t pixel_limit = int64_t{1} << 26, cifar_side = 32, mnist_side = 28;
constexpr size_t chunk_bytes = size_t{1} << 27;

std::string folder_of(const std::string& name) {
  const auto folder = fs::path(name).parent_path().filename().string();
  return folder == "." || folder == ".." ? "" : folder;
}

/// Why it can't be decoded; "": it is.
std::string decode(SourceImage& image) {
  if (image.pixels.defined()) return "";
  try {
    image.pixels = decode_image(image.bytes, image.name, pixel_limit);
    image.bytes.clear();
    image.bytes.shrink_to_fit();
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

}  // namespace

ImageSource::ImageSource(const fs::path& path, int64_t limit)
    : path_(path), left_(limit ? limit : INT64_MAX) {
  if (!fs::exists(path)) throw Error(path.string() + ": no such file or folder.");
  if (is_cifar(path))
    read_dataset(path, cifar_side);
  else if (is_idx(path))
    read_dataset(path, mnist_side);
  else if (fs::is_directory(path))
    read_folder(path);
  else
    read_archive(path);
  count_ = std::min(count_, left_);
}

void ImageSource::read_folder(const fs::path& path) {
  auto names = list_image_files(path);
  if (names.empty()) throw Error(path.string() + ": got a folder without an image, expected images.");
  count_ = std::ssize(names);
  read_ = [path, names = std::move(names), at = size_t{0}](size_t most) mutable {
    std::vector<SourceImage> images;
    for (size_t bytes = 0; images.size() < most && at < names.size() && bytes < chunk_bytes; ++at) {
      images.push_back({names[at], folder_of(names[at]), "", {}});
      try {
        images.back().bytes = read_file(path / names[at], kImageFileLimit);
      } catch (const Error&) {
        // Without bytes it is told and left out as what can't be decoded.
      }
      bytes += images.back().bytes.size();
    }
    return images;
  };
}

void ImageSource::read_archive(const fs::path& path) {
  auto archive = std::make_shared<ArchiveReader>(path, ArchiveReader::Format::files);
  read_ = [archive](size_t most) {
    std::vector<SourceImage> images;
    for (size_t bytes = 0; images.size() < most && bytes < chunk_bytes && archive->next();) {
      const std::string name = archive->name();
      if (!archive->is_file() || !is_image_name(name)) continue;
      images.push_back({name, folder_of(name), archive->read(kImageFileLimit), {}});
      bytes += images.back().bytes.size();
    }
    return images;
  };
}

void ImageSource::read_dataset(const fs::path& path, int64_t side) {
  auto data = std::make_shared<Dataset>(load_dataset(path, side));
  count_ = data->images.size(0);
  read_ = [data, at = int64_t{0}](size_t most) mutable {
    std::vector<SourceImage> images;
    for (; images.size() < most && at < data->images.size(0); ++at) {
      const auto label = data->labels.defined() ? data->labels[at].item<int64_t>() : -1;
      const bool named = label >= 0 && label < std::ssize(data->class_names);
      images.push_back(
          {std::to_string(at), named ? data->class_names[label] : "", "", data->images[at]});
    }
    return images;
  };
}

std::vector<SourceImage> ImageSource::next(size_t most) {
  std::vector<SourceImage> images;
  while (images.empty() && left_ > 0) {
    images = read_(size_t(std::min<int64_t>(int64_t(most), left_)));
    if (images.empty()) return {};
    left_ -= std::ssize(images);
    std::vector<std::string> failures(images.size());
    for_each_in_parallel(std::ssize(images), [&](int64_t i) { failures[i] = decode(images[i]); });
    for (const auto& failure : failures)
      if (!failure.empty()) skipped_.push_back(failure);
    std::erase_if(images, [](const SourceImage& image) { return !image.pixels.defined(); });
  }
  return images;
}

void for_each_batch(
    ImageSource& source, size_t batch,
    const std::function<void(const Tensor& images, std::span<const SourceImage>)>& use) {
  const auto read = [&] { return source.next(batch); };
  auto coming = std::async(std::launch::async, read);
  for (auto images = coming.get(); !images.empty(); images = coming.get()) {
    coming = std::async(std::launch::async, read);
    for (size_t first = 0, end; first < images.size(); first = end) {
      end = first + 1;
      while (end < images.size() && images[end].pixels.sizes() == images[first].pixels.sizes()) ++end;
      std::vector<Tensor> pixels;
      for (size_t i = first; i < end; ++i) pixels.push_back(images[i].pixels);
      use(at::stack(pixels), std::span(images).subspan(first, end - first));
    }
  }
}

}  // namespace tiller
