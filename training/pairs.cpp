#include <ATen/ATen.h>

#include <algorithm>

#include "io/error.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "training/dataset_formats.h"

namespace tiller {
namespace {

Tensor tensor_of(const TensorFile& file, const fs::path& path, const std::string& name) {
  for (const auto& [found, tensor] : file.tensors)
    if (found == name) return tensor;
  throw Error(path.string() + ": got no tensor '" + name +
              "', expected what `tiller generate --save-pairs` writes.");
}

void check_images(const fs::path& path, const std::string& name, const Tensor& images,
                  int64_t size) {
  const bool fits = images.dim() == 4 && images.size(0) > 0 && images.size(2) == size &&
                    images.size(3) == size && images.scalar_type() == at::kFloat;
  const std::string expected =
      "float32 (images, channels, " + std::to_string(size) + ", " + std::to_string(size) + ")";
  if (!fits)
    throw Error(path.string() + ": " + name + ": got " + c10::toString(images.scalar_type()) + " " +
                c10::str(images.sizes()) + ", expected " + expected + ".");
  if (!images.isfinite().all().item<bool>())
    throw Error(path.string() + ": " + name + ": got numbers that aren't finite.");
}

Tensor labels_of(const TensorFile& file, const fs::path& path, int64_t count) {
  for (const auto& [name, labels] : file.tensors) {
    if (name != "labels") continue;
    if (labels.scalar_type() != at::kLong || labels.dim() != 1 || labels.size(0) != count ||
        labels.min().item<int64_t>() < 0)
      throw Error(path.string() + ": labels: expected " + std::to_string(count) +
                  " classes from 0 on, int64.");
    return labels;
  }
  return {};
}

/// Empty: the file has none of that name.
std::vector<std::string> texts_of(const TensorFile& file, const fs::path& path,
                                  const std::string& name) {
  const auto found = file.metadata.find(name);
  if (found == file.metadata.end()) return {};
  const auto list = parse_json(found->second);
  const auto is_text = [](const auto& item) { return item.is_string(); };
  if (!list.is_array() || !std::all_of(list.begin(), list.end(), is_text))
    throw Error(path.string() + ": " + name + ": got '" + printable(found->second.substr(0, 80)) +
                "', expected a JSON list of texts.");
  return list.get<std::vector<std::string>>();
}

void check_texts(const fs::path& path, const Dataset& data) {
  const auto captions = std::ssize(data.captions), names = std::ssize(data.class_names);
  if (captions && captions != data.images.size(0))
    throw Error(path.string() + ": captions: got " + std::to_string(captions) + ", expected " +
                std::to_string(data.images.size(0)) + ", one a pair.");
  if (names && (!data.labels.defined() || data.labels.max().item<int64_t>() >= names))
    throw Error(path.string() + ": class_names: got " + std::to_string(names) +
                ", expected labels below that.");
}

}  // namespace

bool is_pairs(const fs::path& path) {
  return fs::is_regular_file(path) && path.extension() == ".safetensors";
}

Dataset load_pairs(const fs::path& path, int64_t size) {
  const TensorFile file = load_safetensors(path);
  Dataset data;
  data.images = tensor_of(file, path, "samples");
  data.noise = tensor_of(file, path, "noise");
  check_images(path, "samples", data.images, size);
  check_images(path, "noise", data.noise, size);
  if (data.images.sizes() != data.noise.sizes())
    throw Error(path.string() + ": got " + c10::str(data.noise.sizes()) + " of noise and " +
                c10::str(data.images.sizes()) + " of samples, expected as many.");
  data.labels = labels_of(file, path, data.images.size(0));
  data.class_names = texts_of(file, path, "class_names");
  data.captions = texts_of(file, path, "captions");
  check_texts(path, data);
  return data;
}

}  // namespace tiller
