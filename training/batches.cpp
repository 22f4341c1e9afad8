#include "training/batches.h"

#include <ATen/ATen.h>

#include "io/image.h"
#include "training/random.h"

namespace tiller {

Batches::Batches(const Dataset& data, int64_t batch, uint64_t seed, bool flip)
    : data_(data), batch_(batch), seed_(seed), flip_(flip) {}

Tensor Batches::indices(int64_t step) {
  const int64_t images = data_.images.size(0);
  std::vector<Tensor> parts;
  for (int64_t at = step * batch_, end = at + batch_; at < end;) {
    const int64_t epoch = at / images, from = at % images;
    if (epoch != epoch_) {
      order_ = at::randperm(images, step_generator(seed_, 1, epoch), at::TensorOptions(at::kLong));
      epoch_ = epoch;
    }
    const int64_t count = std::min(images - from, end - at);
    parts.push_back(order_.narrow(0, from, count));
    at += count;
  }
  return at::cat(parts);
}

TrainBatch Batches::at(int64_t step) {
  const Tensor chosen = indices(step).to(data_.images.device());
  TrainBatch batch{from_bytes(data_.images.index_select(0, chosen)), {}};
  if (data_.labels.defined()) batch.labels = data_.labels.index_select(0, chosen);
  if (flip_) {
    const Tensor coins = at::rand({batch_, 1, 1, 1}, step_generator(seed_, 2, step), at::kFloat);
    batch.images =
        at::where(coins.to(batch.images.device()) < 0.5, batch.images.flip(3), batch.images);
  }
  return batch;
}

Tensor drop_labels(const Tensor& labels, double probability, int64_t null_label,
                   at::Generator generator) {
  if (probability <= 0) return labels;
  const Tensor coins = at::rand(labels.sizes(), generator, labels.options().dtype(at::kFloat));
  return labels.masked_fill(coins < probability, null_label);
}

}  // namespace tiller
