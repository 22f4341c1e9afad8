#include "metrics/feature_set.h"

#include <ATen/ATen.h>

#include "io/error.h"

namespace tiller {
namespace {

constexpr int64_t first_rows = 1024, spatial_width = 2023;

Tensor on_cpu(const Tensor& x) { return x.to(at::kCPU, at::kFloat); }

}  // namespace

void RowBuffer::append(const Tensor& rows) {
  const int64_t needed = count_ + rows.size(0), held = buffer_.defined() ? buffer_.size(0) : 0;
  if (needed > held) {
    std::vector<int64_t> shape = rows.sizes().vec();
    shape[0] = std::max({needed, held ? 2 * held : first_rows, expected_});
    const Tensor larger = at::empty(shape, rows.options());
    if (count_) larger.narrow(0, 0, count_).copy_(this->rows());
    buffer_ = larger;
  }
  buffer_.narrow(0, count_, rows.size(0)).copy_(rows);
  count_ = needed;
}

Tensor RowBuffer::rows() const {
  return buffer_.defined() ? buffer_.narrow(0, 0, count_) : buffer_;
}

FeatureCollector::FeatureCollector(const FeatureNetwork& network, Keep keep, int64_t expected)
    : keep_(keep), features_(expected), logits_(expected) {
  pooled_.emplace(network.width);
  if (keep.spatial) spatial_.emplace(spatial_width);
}

void FeatureCollector::add(const Features& features) {
  pooled_->add(features.pooled);
  if (keep_.spatial) spatial_->add(features.spatial);
  if (keep_.features) features_.append(on_cpu(features.pooled));
  if (keep_.logits) logits_.append(on_cpu(features.logits));
}

FeatureSet FeatureCollector::finish() {
  FeatureSet set{.count = pooled_->count(), .features = features_.rows(), .logits = logits_.rows()};
  if (set.count < 2) return set;
  set.moments = pooled_->moments();
  if (spatial_) set.spatial = spatial_->moments();
  return set;
}

const FrechetReference& Reference::frechet() {
  if (!frechet_) frechet_.emplace(*set_.moments);
  return *frechet_;
}

const FrechetReference& Reference::spatial() {
  if (!spatial_) spatial_.emplace(*set_.spatial);
  return *spatial_;
}

const Neighbours& Reference::neighbours() {
  if (!neighbours_) neighbours_ = nearest_neighbours(set_.features);
  return *neighbours_;
}

}  // namespace tiller
