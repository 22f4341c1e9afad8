#include "training/image_set.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "io/error.h"
#include "io/image.h"
#include "training/dataset_formats.h"

namespace tiller {
namespace {

constexpr int64_t kPixelLimit = int64_t{1} << 26;
constexpr int64_t kDecodedTogether = 1024;
/// Fewer are there before anybody wonders.
constexpr int64_t kShown = 4096;

/// rows[i]: where names[i] comes when they are sorted.
std::vector<int64_t> rank(const std::vector<std::string>& names) {
  std::vector<int64_t> order(names.size()), rows(names.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return names[a] < names[b]; });
  for (size_t row = 0; row < order.size(); ++row) rows[order[row]] = static_cast<int64_t>(row);
  return rows;
}

void check_all_or_none(const fs::path& path, const std::vector<std::string>& names) {
  const auto bare = std::find_if(names.begin(), names.end(),
                                 [](const auto& name) { return class_of(name).empty(); });
  const auto count =
      std::count_if(bare, names.end(), [](const auto& name) { return class_of(name).empty(); });
  if (count == 0 || count == std::ssize(names)) return;
  throw Error(path.string() + ": got " + std::to_string(count) + " of " +
              std::to_string(names.size()) + " images outside class folders ('" + *bare +
              "'), expected all or none. Move them into a folder of their class, or out.");
}

Tensor label(const std::vector<std::string>& names, const std::vector<int64_t>& rows,
             const std::vector<std::string>& classes) {
  auto labels = at::empty({std::ssize(names)}, at::kLong);
  for (size_t i = 0; i < names.size(); ++i) {
    const auto found = std::lower_bound(classes.begin(), classes.end(), class_of(names[i]));
    labels.data_ptr<int64_t>()[rows[i]] = found - classes.begin();
  }
  return labels;
}

std::vector<std::string> class_names(const std::vector<std::string>& names) {
  std::vector<std::string> classes;
  for (const auto& name : names) classes.push_back(class_of(name));
  std::sort(classes.begin(), classes.end());
  classes.erase(std::unique(classes.begin(), classes.end()), classes.end());
  return classes;
}

/// Not left out: what else is in memory just then mustn't decide on what the data are.
std::string too_large(const std::string& name) {
  return printable(name) +
         ": got an image too large to decode in the memory that is free, expected a smaller one. "
         "Take it out.";
}

/// Moves the rows that are kept to the front, in place, and cuts the rest off.
Tensor keep_rows(const Tensor& rows, const std::vector<int64_t>& kept) {
  const size_t bytes = rows.size(0) ? rows.nbytes() / rows.size(0) : 0;
  auto* data = static_cast<char*>(rows.data_ptr());
  for (size_t i = 0; i < kept.size(); ++i)
    std::memmove(data + i * bytes, data + kept[i] * bytes, bytes);
  return rows.narrow(0, 0, std::ssize(kept));
}

}  // namespace

std::string class_of(const std::string& name) {
  const auto folder = fs::path(name).parent_path().filename().string();
  return folder == "." || folder == ".." ? "" : folder;
}

ImageSet::ImageSet(const fs::path& path, std::vector<std::string> names, int64_t size,
                   const fs::path& file, bool classes)
    : path_(path), names_(std::move(names)), rows_(rank(names_)), failures_(names_.size()) {
  if (classes) check_all_or_none(path_, names_);
  data_.images = allocate_bytes(path_, {count(), 3, size, size}, file);
  data_.names.resize(names_.size());
  for (size_t i = 0; i < names_.size(); ++i) data_.names[rows_[i]] = names_[i];
  if (!classes || names_.empty() || class_of(names_[0]).empty()) return;
  data_.class_names = class_names(names_);
  data_.labels = label(names_, rows_, data_.class_names);
}

void ImageSet::decode(int64_t i, std::string_view bytes) {
  try {
    const auto image = decode_image(bytes, names_[i], kPixelLimit);
    data_.images[rows_[i]].copy_(resize_and_crop(image, data_.images.size(3)));
  } catch (const Error& error) {
    failures_[rows_[i]] = error.what();
  } catch (const std::bad_alloc&) {
    throw Error(too_large(names_[i]));
  } catch (const c10::Error&) {
    throw Error(too_large(names_[i]));
  }
}

void ImageSet::skip(int64_t i, const std::string& reason) { failures_[rows_[i]] = reason; }

Dataset ImageSet::finish() && {
  std::vector<int64_t> kept;
  for (int64_t row = 0; row < count(); ++row) {
    if (failures_[row].empty()) {
      kept.push_back(row);
    } else {
      data_.skipped.push_back(failures_[row]);
    }
  }
  if (kept.empty())
    throw Error(path_.string() + ": none of its " + std::to_string(count()) +
                " images can be decoded; the first: " + data_.skipped.at(0));
  if (!data_.skipped.empty()) {
    data_.images = keep_rows(data_.images, kept);
    for (size_t i = 0; i < kept.size(); ++i) data_.names[i] = data_.names[kept[i]];
    data_.names.resize(kept.size());
    if (data_.labels.defined()) data_.labels = keep_rows(data_.labels, kept);
  }
  return std::move(data_);
}

Progress long_progress(const std::string& label, int64_t images) {
  return images < kShown ? Progress::silent() : Progress(label, images, "images");
}

Dataset decode_files(ImageSet images, const fs::path& path) {
  const auto read = [&](int64_t i) {
    std::string bytes;
    try {
      bytes = read_file(path / images.name(i), kImageFileLimit);
    } catch (const Error& error) {
      return images.skip(i, error.what());
    }
    images.decode(i, bytes);
  };
  Progress progress = long_progress("decoding", images.count());
  for (int64_t first = 0; first < images.count(); first += kDecodedTogether) {
    const int64_t count = std::min(kDecodedTogether, images.count() - first);
    for_each_in_parallel(count, [&](int64_t i) { read(first + i); });
    progress.advance(count);
  }
  return std::move(images).finish();
}

bool is_image_name(const fs::path& path) {
  static constexpr std::array endings = {".png",  ".jpg", ".jpeg", ".bmp",  ".gif", ".tga",
                                         ".webp", ".tif", ".tiff", ".avif", ".heic"};
  const auto name = path.filename().string();
  if (name.empty() || name[0] == '.') return false;
  auto ending = path.extension().string();
  for (auto& c : ending)
    if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
  return std::find(endings.begin(), endings.end(), ending) != endings.end();
}

}  // namespace tiller
