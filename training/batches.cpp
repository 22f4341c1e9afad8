#include "training/batches.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "io/error.h"
#include "io/image.h"
#include "training/random.h"

namespace tiller {

Batches::Batches(const Dataset& data, int64_t batch, uint64_t seed, bool flip, double balance)
    : data_(data), batch_(batch), seed_(seed), flip_(flip && !data.noise.defined()) {
  if (balance > 0) weights_ = group_weights(data, balance);
  parts_ = {{0, batch}};
}

Batches::Batches(const Dataset& data, const TrainOptions& options)
    : Batches(data, options.whole_batch(), options.seed, options.flip, options.balance) {
  device_ = options.device;
  parts_ = parts_of(options);
}

Tensor Batches::indices(int64_t step) {
  if (drawn_ != step) chosen_ = draw(step), drawn_ = step;
  return chosen_;
}

Tensor Batches::draw(int64_t step) {
  if (weights_.defined())
    return at::multinomial(weights_, batch_, /*replacement=*/true, step_generator(seed_, 1, step));
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

Tensor Batches::images_of(int64_t step, const BatchPart& part, const Tensor& chosen) {
  if (!data_.mapped) return data_.images.index_select(0, chosen.to(data_.images.device()));
  const auto rows = [&](int64_t of, const BatchPart& p) {
    return indices(of).narrow(0, p.first, p.count);
  };
  const Tensor images = ahead_.take(data_.images, chosen);
  const auto same = [&](const BatchPart& p) { return p.first == part.first; };
  const auto next = std::find_if(parts_.begin(), parts_.end(), same) + 1;
  ahead_.read(data_.images, next < parts_.end() ? rows(step, *next) : rows(step + 1, parts_[0]));
  return images.to(device_);
}

TrainBatch Batches::at(int64_t step, const BatchPart& part) {
  const Tensor rows = indices(step).narrow(0, part.first, part.count);
  TrainBatch batch{.images = images_of(step, part, rows)};
  const Tensor chosen = rows.to(batch.images.device());
  if (batch.images.scalar_type() == at::kByte) batch.images = from_bytes(batch.images);
  if (data_.noise.defined()) batch.noise = data_.noise.index_select(0, chosen);
  if (data_.labels.defined()) batch.labels = data_.labels.index_select(0, chosen);
  if (flip_) {
    const Tensor flips = mirrored(step)
                             .narrow(0, part.first, part.count)
                             .view({-1, 1, 1, 1})
                             .to(batch.images.device());
    batch.images = at::where(flips, batch.images.flip(3), batch.images);
  }
  return batch;
}

std::string Batches::name_of(int64_t step, int64_t row) {
  const int64_t image = indices(step)[row].item<int64_t>();
  if (image < std::ssize(data_.names)) return printable(data_.names[image]);
  return "image " + std::to_string(image) + " of the data set";
}

Tensor Batches::mirrored(int64_t step) const {
  if (!flip_) return at::zeros({batch_}, at::kBool);
  return at::rand({batch_, 1, 1, 1}, step_generator(seed_, 2, step), at::kFloat).flatten() < 0.5;
}

Tensor group_weights(const Dataset& data, double balance) {
  const Tensor groups = data.groups.defined() ? data.groups : data.labels;
  if (!groups.defined())
    throw UsageError("--balance: got " + std::to_string(balance).substr(0, 4) +
                     ", but the data has neither groups nor classes.");
  const Tensor sizes = at::bincount(groups.cpu()).to(at::kDouble);
  return sizes.pow(-balance).index_select(0, groups.cpu());
}

Tensor label_coins(const TrainOptions& options, int64_t step, const BatchPart& part) {
  return at::rand({options.whole_batch()}, step_generator(options.seed, 6, step, options.device),
                  at::TensorOptions(at::kFloat).device(options.device))
      .narrow(0, part.first, part.count);
}

Tensor drop_labels(const Tensor& labels, const Tensor& coins, double probability,
                   int64_t null_label) {
  return labels.masked_fill(coins < probability, null_label);
}

}  // namespace tiller
