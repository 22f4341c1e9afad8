#include <ATen/ATen.h>

#include "io/error.h"
#include "io/numpy_file.h"
#include "training/dataset_formats.h"

namespace tiller {
namespace {

constexpr int64_t kRowsTogether = 256;

/// (N, H, W, C) as guided-diffusion's scripts write it, to (N, 3, size, size).
Tensor read_images(NumpyReader& reader, const fs::path& path, int64_t size, const fs::path& file) {
  const NumpyHeader& header = reader.header();
  const auto& shape = header.shape;
  if (header.dtype != at::kByte || shape.size() != 4 || (shape[3] != 1 && shape[3] != 3) ||
      std::min({shape[0], shape[1], shape[2]}) < 1)
    throw Error(path.string() + ": arr_0: got " + std::to_string(shape.size()) +
                " dimensions, none of anything or another type, expected uint8 of (images, height, "
                "width, 3).");
  Tensor images = allocate_bytes(path, {shape[0], 3, size, size}, file);
  for (int64_t at = 0; at < shape[0];) {
    const Tensor rows = fit_images(path, reader.rows(kRowsTogether).permute({0, 3, 1, 2}), size);
    images.narrow(0, at, rows.size(0)).copy_(rows);
    at += rows.size(0);
  }
  return images;
}

}  // namespace

bool is_npz(const fs::path& path) {
  return fs::is_regular_file(path) && path.extension() == ".npz";
}

Dataset load_npz_images(const fs::path& path, int64_t size, const fs::path& file) {
  Dataset data;
  for (NumpyReader reader(path); reader.next();) {
    if (reader.name() == "arr_0") data.images = read_images(reader, path, size, file);
    if (reader.name() == "arr_1") data.labels = reader.rest().to(at::kLong).flatten();
  }
  if (!data.images.defined())
    throw Error(path.string() + ": got no arr_0, expected guided-diffusion's images.");
  if (data.labels.defined() && data.labels.size(0) != data.images.size(0))
    throw Error(path.string() + ": arr_1: got " + std::to_string(data.labels.size(0)) +
                " labels, expected " + std::to_string(data.images.size(0)) + ".");
  if (data.labels.defined() && data.labels.min().item<int64_t>() < 0)
    throw Error(path.string() + ": arr_1: got a negative label, expected classes from 0 on.");
  return data;
}

}  // namespace tiller
