#include "training/training_data.h"

#include <ATen/ATen.h>

#include <iostream>

#include "io/error.h"
#include "training/data_cache.h"
#include "training/dataset_formats.h"
#include "training/trained_size.h"

namespace tiller {
namespace {

constexpr size_t named = 10;
/// As many counters and rows of an embedding as a label asks for are allocated.
constexpr int64_t most_classes = 1'000'000;

void check_labels(const Dataset& data, const fs::path& path) {
  if (!data.labels.defined()) return;
  const auto most = data.labels.max().item<int64_t>();
  if (most >= most_classes)
    throw Error(path.string() + ": got the label " + std::to_string(most) +
                ", expected classes from 0 to " + std::to_string(most_classes - 1) + ".");
}

/// To where it is trained on, with a word on what isn't as it should be.
Dataset ready(const TrainOptions& options, Dataset data) {
  check_labels(data, options.data);
  if (options.launch.rank == 0)
    for (const auto& line : complaints_of(data)) std::cerr << "train: " << line << "\n";
  move_to(data, options.device);
  return data;
}

}  // namespace

std::vector<std::string> complaints_of(const Dataset& data) {
  std::vector<std::string> lines;
  const size_t count = data.skipped.size();
  for (size_t i = 0; i < std::min(count, named); ++i)
    lines.push_back("left out: " + data.skipped[i]);
  if (count > named)
    lines.push_back("left out: " + std::to_string(count - named) + " more, " +
                    std::to_string(count) + " in all");
  for (const auto& folder : data.empty)
    lines.push_back("folder '" + printable(folder) + "' has no image, and is no class");
  if (!data.labels.defined()) return lines;
  const auto classes = std::ssize(data.class_names);
  const Tensor counts = data.labels.bincount({}, classes);
  for (int64_t label = 0; label < classes; ++label)
    if (counts[label].item<int64_t>() == 0)
      lines.push_back("class '" + printable(data.class_names[size_t(label)]) + "' has no image");
  return lines;
}

Dataset decoded_data(const TrainOptions& options, int64_t size) {
  if (options.data_cache.empty()) return load_dataset(options.data, size);
  return cached_dataset(options.data, size, options.data_cache);
}

Dataset load_training_data(const TrainOptions& options, int64_t size) {
  if (is_pairs(options.data))
    throw UsageError("--data: got pairs of noise and samples, expected images: pairs teach flows.");
  return ready(options, decoded_data(options, size));
}

Dataset load_diffusion_data(const TrainOptions& options, const std::shared_ptr<Autoencoder>& vae,
                            int64_t channels) {
  if (!is_pairs(options.data)) return load_training_data(options, trained_size(options, vae));
  Dataset pairs = decoded_data(options, network_size(options));
  if (pairs.images.size(1) != channels)
    throw UsageError(options.data.string() + ": got pairs of " +
                     std::to_string(pairs.images.size(1)) + " channels, expected the " +
                     std::to_string(channels) + " of the network of " + options.config_file + ".");
  return ready(options, std::move(pairs));
}

bool encodes(const std::shared_ptr<Autoencoder>& vae, const Dataset& data) {
  return vae && !data.noise.defined();
}

}  // namespace tiller
