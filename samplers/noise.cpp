#include "samplers/noise.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <cmath>

#include "io/error.h"
#include "models/sent.h"
#include "samplers/brownian_tree.h"
#include "samplers/philox.h"

namespace tiller {

NoisePath NoiseSource::path(const Tensor& like, double, double) {
  struct Interval {
    double from = 0, to = 0;
    Tensor noise;
  };
  return [this, like, last = Interval{}](double from, double to) mutable {
    Tensor noise = draw(like);
    if (last.noise.defined() && from == last.from && to < last.to) {
      const double share = (from - last.to) / (from - to);
      noise = std::sqrt(share) * last.noise + std::sqrt(1 - share) * noise;
    }
    last = {from, to, noise};
    return noise;
  };
}

SeededNoise::SeededNoise(const std::vector<uint64_t>& seeds, RandomNumbers numbers)
    : seeds_(seeds), numbers_(numbers) {
  for (const uint64_t seed : seeds) streams_.push_back(at::detail::createCPUGenerator(seed));
}

void SeededNoise::require_rows(const Tensor& like) const {
  if (like.dim() < 1 || like.size(0) != static_cast<int64_t>(streams_.size()))
    throw Error("noise: got a batch of " + std::to_string(like.dim() ? like.size(0) : 0) +
                ", expected " + std::to_string(streams_.size()) + ", one a seed.");
}

NoisePath SeededNoise::path(const Tensor& like, double low, double high) {
  require_rows(like);
  std::vector<BrownianTree> trees;
  for (const uint64_t seed : seeds_)
    trees.emplace_back(seed, like.sizes().slice(1).vec(), low, high);
  return [trees, like](double from, double to) {
    if (from <= to) return at::zeros(like.sizes(), like.options());
    std::vector<Tensor> images;
    for (const auto& tree : trees) images.push_back(tree.increment(to, from));
    return sent(at::stack(images) / -std::sqrt(from - to), like.options());
  };
}

Tensor SeededNoise::draw(const Tensor& like) {
  require_rows(like);
  const at::IntArrayRef shape = like.sizes().slice(1);
  std::vector<Tensor> images;
  for (size_t k = 0; k < seeds_.size(); ++k)
    images.push_back(numbers_ == RandomNumbers::nv
                         ? philox_normal(seeds_[k], draws_, shape)
                         : at::randn(shape, streams_[k], at::TensorOptions(at::kFloat)));
  ++draws_;
  return sent(at::stack(images), like.options());
}

Tensor initial_noise(NoiseSource& noise, at::IntArrayRef shape, at::Device device) {
  return noise.draw(at::empty(shape, at::TensorOptions(at::kFloat).device(device)));
}

std::vector<uint64_t> image_seeds(uint64_t seed, int64_t images) {
  std::vector<uint64_t> seeds;
  for (int64_t k = 0; k < images; ++k) seeds.push_back(seed + static_cast<uint64_t>(k));
  return seeds;
}

}  // namespace tiller
