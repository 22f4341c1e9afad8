#include "samplers/noise.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "io/error.h"

namespace tiller {

SeededNoise::SeededNoise(const std::vector<uint64_t>& seeds) {
  for (const uint64_t seed : seeds) streams_.push_back(at::detail::createCPUGenerator(seed));
}

Tensor SeededNoise::draw(const Tensor& like) {
  if (like.dim() < 1 || like.size(0) != static_cast<int64_t>(streams_.size()))
    throw Error("noise: got a batch of " + std::to_string(like.dim() ? like.size(0) : 0) +
                ", expected " + std::to_string(streams_.size()) + ", one a seed.");
  std::vector<Tensor> images;
  for (const auto& stream : streams_)
    images.push_back(at::randn(like.sizes().slice(1), stream, at::TensorOptions(at::kFloat)));
  return at::stack(images).to(like.options());
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
